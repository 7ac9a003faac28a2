//! What is found in an `env.py` besides a missing keyword, and what the user is told.

use safemig_transforms::environment::{Environment, Finding};
use safemig_transforms::settings::Settings;

const HEAD: &str = "from alembic import context\nfrom sqlalchemy import create_engine, inspect, text\n";

/// The findings in a body below the imports.
fn find(body: &str, sqlalchemy: (u32, u32, u32)) -> Vec<Finding> {
    let environment = Environment::parse("env.py".to_owned(), format!("{HEAD}{body}"))
        .expect("valid Python")
        .expect("an env.py of Alembic");
    let mut settings = Settings::default();
    settings.target.sqlalchemy = Some(sqlalchemy);
    environment.check(&settings, &|_, _| true).findings
}

/// Line, beginning of the message, and advice, where there is no fix.
fn left(body: &str, sqlalchemy: (u32, u32, u32)) -> Vec<String> {
    let source = format!("{HEAD}{body}");
    let left = find(body, sqlalchemy).into_iter().filter_map(|finding| {
        let violation = finding.violation;
        let line = source[..violation.place.call.start().to_usize()].lines().count().saturating_sub(2);
        let advice = violation.fix.err()?;
        let message: String = violation.message.chars().take(44).collect();
        Some(format!("{line}: {message} | {}", advice.chars().take(44).collect::<String>()))
    });
    left.collect()
}

const SA14: (u32, u32, u32) = (1, 4, 54);
const SA20: (u32, u32, u32) = (2, 0, 0);

/// How an `env.py` goes on once it has a connection.
const RUN: &str = "    context.configure(connection=c, transaction_per_migration=True)\n    \
                   with context.begin_transaction():\n        context.run_migrations()\n";

#[test]
fn a_transaction_around_all_revisions() {
    let sources = [
        format!("with engine.begin() as c:\n{RUN}"),
        format!("with engine.connect() as c, c.begin():\n{RUN}"),
        format!("with engine.connect() as c:\n    c.begin()\n{RUN}"),
        format!("with engine.connect() as c:\n    c.begin_nested()\n{RUN}"),
        format!(
            "def run(c):\n{RUN}\nasync def main():\n    async with engine.begin() as conn:\n        \
             await conn.run_sync(run)\nasyncio.run(main())\n"
        ),
        "with engine.connect() as c:\n    context.configure(connection=c, transaction_per_migration=True)\n    \
         with c.begin():\n        context.run_migrations()\n"
            .to_owned(),
    ];
    for source in sources {
        for version in [SA14, SA20] {
            let left = left(&source, version);
            assert_eq!(left.len(), 1, "{source}\n{left:?}");
            assert!(
                left[0].contains("puts all revisions into") && left[0].contains("| leave the transaction")
            );
        }
    }
}

#[test]
fn a_transaction_that_is_over() {
    for source in [
        format!(
            "with engine.begin() as c:\n    c.execute(text('SET x = 1'))\nwith engine.connect() as c:\n{RUN}"
        ),
        format!(
            "with engine.connect() as c:\n    with c.begin():\n        c.execute(text('SELECT 1'))\n{RUN}"
        ),
        format!("with engine.connect() as c:\n    c.execute(text('SELECT 1'))\n    c.commit()\n{RUN}"),
        format!("with engine.connect() as c:\n    t = c.begin()\n    t.commit()\n{RUN}"),
    ] {
        assert_eq!(left(&source, SA20), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn a_statement_before_configure() {
    let set =
        format!("with engine.connect() as c:\n    c.execute(text(\"SET lock_timeout = '500ms'\"))\n{RUN}");
    assert_eq!(
        left(&set, SA20),
        ["2: `c.execute()` before `context.configure()` b | give the setting to the connection instead ("]
    );
    let advice = find(&set, SA20)[0].violation.fix.clone().expect_err("no fix");
    assert!(advice.contains("`?options=-c%20lock_timeout%3D500ms`"), "{advice}");
    // It begins no transaction there.
    assert_eq!(left(&set, SA14), Vec::<String>::new());
    // But with an engine of the future it does.
    assert_eq!(left(&format!("engine = create_engine(url, future=True)\n{set}"), SA14).len(), 1);
    for statement in ["c.scalar(q)", "inspect(c).get_table_names()", "c.exec_driver_sql(q)"] {
        let left = left(&format!("with engine.connect() as c:\n    {statement}\n{RUN}"), SA20);
        assert!(left.len() == 1 && left[0].contains("| follow it with `.commit()`"), "{left:?}");
    }
    let other =
        "with engine.connect() as c:\n    if c.dialect.name == 'sqlite':\n        c.execute(pragma)\n";
    assert_eq!(left(&format!("{other}{RUN}"), SA20), Vec::<String>::new());
    let after = RUN.replace("    with", "    c.execute(text('SET x = 1'))\n    with");
    assert_eq!(left(&format!("with engine.connect() as c:\n{after}"), SA20), Vec::<String>::new());
}

#[test]
fn nobody_begins() {
    let run = "with engine.connect() as c:\n    context.configure(connection=c, **options)\n    context.run_migrations()\n";
    assert_eq!(left(run, SA20).len(), 2);
    assert!(left(run, SA20)[1].starts_with("3: `context.run_migrations()` without"));
    assert_eq!(left(run, SA14).len(), 1);
    let on = run.replace("**options", "transaction_per_migration=True");
    assert_eq!(left(&on, SA20), Vec::<String>::new());
    let stack = "with ExitStack() as stack:\n    c = stack.enter_context(engine.connect())\n    \
                 context.configure(connection=c, **options)\n    \
                 stack.enter_context(context.begin_transaction())\n    context.run_migrations()\n";
    assert_eq!(left(stack, SA20).len(), 1);
}

#[test]
fn what_is_no_environment_of_alembic() {
    for source in [
        "target_metadata = None\n",
        "from alembic import op\nop.execute('')\n",
        "import context\ncontext.configure()\n",
    ] {
        assert!(Environment::parse("env.py".to_owned(), source.to_owned()).expect("valid Python").is_none());
    }
}

#[test]
fn functions_that_call_each_other_come_to_an_end() {
    let mut source = HEAD.to_owned();
    for number in 0..60 {
        source.push_str(&format!(
            "def f{number}():\n    f{0}()\n    f{0}()\n    context.configure(url=u)\n",
            (number + 1) % 60
        ));
    }
    source.push_str("f0()\n");
    let environment =
        Environment::parse("env.py".to_owned(), source).expect("valid Python").expect("an env.py");
    assert_eq!(environment.configures.len(), 60);
}
