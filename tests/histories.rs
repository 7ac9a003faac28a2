//! The histories of real projects, rewritten.
//!
//! Those in `replayed!` are run from an empty database before and after, and compared after every revision, upgrade
//! and downgrade. Those in `rewritten!` cannot be run without their application: they are rewritten, the result must
//! be SA20, and a second run must have nothing to do. `tests/harness/packages.json` says where they come from.

#[path = "support/rewrite.rs"]
mod rewrite;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rewrite::Rewritten;
use serde_json::Value;
use support::{SA20, Turn, environment, root};

/// Makes a test of every package, by its name in `packages.json`.
macro_rules! packages {
    ($list:ident: $check:ident { $($test:ident = $name:literal)* }) => {
        $(
            #[test]
            fn $test() {
                $check($name);
            }
        )*

        const $list: &[&str] = &[$($name),*];
    };
}

packages!(REPLAYED: replayed {
    ckan = "ckan"
    flexmeasures = "flexmeasures"
    manila = "manila"
    argilla = "argilla"
    barbican = "barbican"
    conda_store = "conda-store"
    designate = "designate"
    heat = "heat"
    irrd = "irrd"
    keystone = "keystone"
    magnum = "magnum"
    meltano = "meltano"
    nova_api = "nova-api"
    nova_main = "nova-main"
    open_webui = "open-webui"
    phoenix = "phoenix"
    quetz = "quetz"
    zuul = "zuul"
});

packages!(REWRITTEN: rewritten {
    aiida = "aiida"
    airflow2 = "airflow2"
    airflow3 = "airflow3"
    buildbot = "buildbot"
    dagster = "dagster"
    faraday = "faraday"
    fief = "fief"
    galaxy = "galaxy"
    indico = "indico"
    ironic = "ironic"
    jupyterhub = "jupyterhub"
    langflow = "langflow"
    mlflow = "mlflow"
    mwdb = "mwdb"
    neutron = "neutron"
    octavia = "octavia"
    optuna = "optuna"
    prefect = "prefect"
    qcfractal = "qcfractal"
    rucio = "rucio"
    superset = "superset"
    zenml = "zenml"
});

/// The list here and the one of the harness are the same.
#[test]
fn every_package_is_tested() {
    let Value::Object(packages) = packages() else {
        panic!("packages.json is an object");
    };
    let names = |replayed: bool| -> BTreeSet<&str> {
        let kind = packages.iter().filter(|(_, entry)| entry.get("replay").is_some() == replayed);
        kind.map(|(name, _)| name.as_str()).collect()
    };
    assert_eq!(names(true), REPLAYED.iter().copied().collect());
    assert_eq!(names(false), REWRITTEN.iter().copied().collect());
}

/// Rewrites a history and proves that it still does the same.
fn replayed(name: &str) {
    let _turn = Turn::take();
    let (mut rewritten, versions) = rewrite(name);
    let mut arguments: Vec<PathBuf> = versions.iter().map(|path| rewritten.path().join(path)).collect();
    arguments.extend(["--package".into(), name.into()]);
    arguments.extend(["--cache".into(), environment().join("replays")]);
    rewritten.harness(SA20, "prove.py", arguments);
    rewritten.finish(name);
}

/// Rewrites a history.
fn rewritten(name: &str) {
    let _turn = Turn::take();
    rewrite(name).0.finish(name);
}

/// Rewrites the copy of a package's migrations; the answer has the directories of its revisions.
fn rewrite(name: &str) -> (Rewritten, Vec<PathBuf>) {
    let package = &packages()[name];
    let pin = package["pin"].as_str().expect("a package has a pin");
    let source = environment().join("corpus").join(pin.replace('-', "_").replace("==", "-"));
    let versions: Vec<PathBuf> = package["versions"]
        .as_array()
        .expect("a package has versions")
        .iter()
        .map(|path| path.as_str().expect("a path is text").into())
        .collect();
    let scripts: BTreeSet<PathBuf> =
        versions.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
    let scripts: Vec<PathBuf> = scripts.into_iter().collect();
    (Rewritten::new(&source, &scripts, &versions), versions)
}

fn packages() -> Value {
    let path = root().join("tests/harness/packages.json");
    let text = fs::read_to_string(path).expect("packages.json can be read");
    serde_json::from_str(&text).expect("packages.json is JSON")
}
