//! The histories of real projects, rewritten.
//!
//! Those in `replayed!` are run from an empty database before and after, and compared after every revision, upgrade
//! and downgrade. Those in `rewritten!` cannot be run without their application: they are rewritten, the result must
//! be Python, and a second run must have nothing to do. `tests/harness/packages.json` says where they come from.

#[path = "support/rewrite.rs"]
mod rewrite;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rewrite::Rewritten;
use serde_json::{Value, json};
use support::{SA20, Verified, environment, root, safemig, verify_with};

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

/// Those that are also proved cut into several revisions.
const IN_BOTH_LAYOUTS: [&str; 5] = ["argilla", "designate", "keystone", "quetz", "zuul"];

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
    let mut package = Package::new(name);
    let directory = package.rewritten.path().to_owned();
    let needs = package.entry["replay"].clone();
    let mut arguments = vec!["verify".to_owned(), "--stub-imports".to_owned()];
    arguments.extend(["--output-format".to_owned(), "json".to_owned()]);
    if needs["environment"].is_null() {
        arguments.extend(package.versions.iter().map(|versions| versions.display().to_string()));
    } else {
        let settings = directory.join("alembic.ini");
        fs::write(&settings, package.settings(&needs)).expect("a file can be written");
        arguments.extend(["--use-env".to_owned(), "-c".to_owned(), settings.display().to_string()]);
    }
    let layouts = ["--split=autocommit-block", "--split=revision"];
    for layout in &layouts[..if IN_BOTH_LAYOUTS.contains(&name) { 2 } else { 1 }] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain([*layout]).collect();
        let verified = verify_with(&mut safemig(&package.source, SA20, &arguments));
        package.judge(&verified);
    }
    package.rewritten.finish(name);
}

/// Rewrites a history.
fn rewritten(name: &str) {
    Package::new(name).rewritten.finish(name);
}

/// A package, and a rewritten copy of its migrations.
struct Package {
    entry: Value,
    source: PathBuf,
    /// The directories of its revisions, relative to `source`.
    versions: Vec<PathBuf>,
    rewritten: Rewritten,
}

impl Package {
    fn new(name: &str) -> Self {
        let entry = packages()[name].clone();
        let pin = entry["pin"].as_str().expect("a package has a pin");
        let source = environment().join("corpus").join(pin.replace('-', "_").replace("==", "-"));
        let versions: Vec<PathBuf> = entry["versions"]
            .as_array()
            .expect("a package has versions")
            .iter()
            .map(|path| path.as_str().expect("a path is text").into())
            .collect();
        let scripts: BTreeSet<PathBuf> =
            versions.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
        let scripts: Vec<PathBuf> = scripts.into_iter().collect();
        let rewritten = Rewritten::new(&source, &scripts, &versions);
        Self { entry, source, versions, rewritten }
    }

    /// An alembic.ini for `tests/environments`.
    fn settings(&self, needs: &Value) -> String {
        let versions = self.versions.iter().map(|path| format!("\n    {}", self.source.join(path).display()));
        let lines = [
            format!("script_location = {}", root().join("tests/environments").display()),
            "path_separator = newline\nversion_path_separator = newline".to_owned(),
            format!("version_locations ={}", versions.collect::<String>()),
            format!("recursive_version_locations = {}", needs["recursive"] == true),
            "sqlalchemy.url = postgresql+psycopg2:///".to_owned(),
            format!("source = {}", self.source.display()),
            format!("environment = {}", needs["environment"].as_str().expect("a name")),
        ];
        format!("[alembic]\n{}\n", lines.join("\n"))
    }

    /// Notes what is wrong with a proof. What safemig leaves alone still locks: that is no surprise here, as long as
    /// `safemig check` reports it, or no rule is there yet.
    fn judge(&mut self, verified: &Verified) {
        let Ok(report) = serde_json::from_str::<Value>(&verified.stdout) else {
            return self.rewritten.problem(verified.text.clone());
        };
        if report == json!([]) {
            return; // Nothing is rewritten.
        }
        let report = &report[0];
        if !report["stopped"].is_null() || report["heads"].is_null() {
            self.rewritten.problem(verified.text.clone());
        }
        let touched = report["touched"].as_array().expect("a list");
        let steps = touched.iter().flat_map(|revision| {
            ["upgrade", "downgrade"]
                .map(|direction| (format!("{} {direction}", revision["path"]), &revision[direction]))
        });
        for (place, outcome) in steps.chain([("heads".to_owned(), &report["heads"])]) {
            let fails = |side: &str| !outcome[side].is_null();
            if outcome["differences"] != json!([]) || fails("original") != fails("rewritten") {
                let shown = ["differences", "original", "rewritten"].map(|key| format!("{:#}", outcome[key]));
                self.rewritten.problem(format!("{place}: {}", shown.join("\n")));
            }
            if outcome["broken_claims"].as_u64().is_some_and(|number| number > 0) {
                self.rewritten.problem(format!("{place}: a claim does not hold: {:#}", outcome["after"]));
            }
        }
    }
}

fn packages() -> Value {
    let path = root().join("tests/harness/packages.json");
    let text = fs::read_to_string(path).expect("packages.json can be read");
    serde_json::from_str(&text).expect("packages.json is JSON")
}
