//! Run every revision in a transaction of its own.
//!
//! ## Why is this unsafe?
//! Alembic's default `env.py` runs all pending revisions in one transaction. A lock that the first
//! takes is held until the last has run: a column that is added in an instant keeps everybody from
//! its table while a later revision fills another. A second revision separates nothing. And when a
//! later revision fails, those before it lose their stamp, although what they did in an autocommit
//! block stays: the next run stops at what is there already.
//!
//! `transaction_per_migration=True` commits and stamps every revision by itself. It does nothing, and
//! `autocommit_block()` fails with a bare `AssertionError`, while a transaction that Alembic did not
//! begin is open on the connection: by `engine.begin()`, by `connection.begin()`, or, with
//! SQLAlchemy 2, by any statement before `context.configure()`. This is reported, and not fixed. With
//! SQLAlchemy 2 such a statement, or a `context.run_migrations()` outside of
//! `context.begin_transaction()`, even lets `alembic upgrade` end well and commit nothing.
//!
//! ## Unsafe
//! ```python
//! from alembic import context
//! from sqlalchemy import engine_from_config, pool
//!
//! from shop.models import Base
//!
//! config = context.config
//!
//!
//! def run_migrations_offline() -> None:
//!     context.configure(
//!         url=config.get_main_option("sqlalchemy.url"),
//!         target_metadata=Base.metadata,
//!         literal_binds=True,
//!         dialect_opts={"paramstyle": "named"},
//!     )
//!
//!     with context.begin_transaction():
//!         context.run_migrations()
//!
//!
//! def run_migrations_online() -> None:
//!     connectable = engine_from_config(
//!         config.get_section(config.config_ini_section, {}),
//!         prefix="sqlalchemy.",
//!         poolclass=pool.NullPool,
//!     )
//!
//!     with connectable.connect() as connection:
//!         context.configure(connection=connection, target_metadata=Base.metadata)
//!
//!         with context.begin_transaction():
//!             context.run_migrations()
//!
//!
//! if context.is_offline_mode():
//!     run_migrations_offline()
//! else:
//!     run_migrations_online()
//! ```
//!
//! ## Safe
//! ```python
//! from alembic import context
//! from sqlalchemy import engine_from_config, pool
//!
//! from shop.models import Base
//!
//! config = context.config
//!
//!
//! def run_migrations_offline() -> None:
//!     context.configure(
//!         url=config.get_main_option("sqlalchemy.url"),
//!         target_metadata=Base.metadata,
//!         literal_binds=True,
//!         dialect_opts={"paramstyle": "named"},
//!         transaction_per_migration=True,
//!     )
//!
//!     with context.begin_transaction():
//!         context.run_migrations()
//!
//!
//! def run_migrations_online() -> None:
//!     connectable = engine_from_config(
//!         config.get_section(config.config_ini_section, {}),
//!         prefix="sqlalchemy.",
//!         poolclass=pool.NullPool,
//!     )
//!
//!     with connectable.connect() as connection:
//!         context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
//!
//!         with context.begin_transaction():
//!             context.run_migrations()
//!
//!
//! if context.is_offline_mode():
//!     run_migrations_offline()
//! else:
//!     run_migrations_online()
//! ```

use crate::environment::{Configure, Environment, Keyword, Obstacle, ObstacleKind, PerMigration, Violation};
use crate::settings::Settings;

const FIX: Keyword = Keyword { name: "transaction_per_migration", value: "True" };

pub(super) fn check(environment: &Environment, settings: &Settings) -> Vec<Violation> {
    // With 1.4 a statement begins no transaction, and is committed by itself.
    let begins_by_itself =
        environment.future || settings.target.sqlalchemy.is_none_or(|version| version >= (2, 0, 0));
    let obstacles: Vec<_> = environment
        .obstacles
        .iter()
        .filter(|obstacle| begins_by_itself || obstacle.kind == ObstacleKind::Begun)
        .collect();
    let not_begun = |configure: &Configure| {
        let mut of_this = obstacles.iter().filter(|obstacle| obstacle.configure == configure.place.call);
        of_this.any(|obstacle| obstacle.kind == ObstacleKind::NotBegun)
    };
    let configures = environment.configures.iter().filter_map(|one| configure(one, not_begun(one), environment));
    let obstacles = obstacles.iter().filter_map(|obstacle| {
        let configure = environment.configures.iter().find(|one| one.place.call == obstacle.configure)?;
        obstructs(obstacle, configure, environment)
    });
    configures.chain(obstacles).collect()
}

/// What `context.configure()` is not told.
fn configure(configure: &Configure, not_begun: bool, environment: &Environment) -> Option<Violation> {
    let fix = match &configure.per_migration {
        PerMigration::On => return None,
        PerMigration::Missing => match configure.lasting {
            None => Ok(FIX),
            Some(range) => {
                let line = environment.module.position(range.start()).line;
                Err(format!(
                    "what line {line} does may end with the first revision's transaction; take a lock of the \
                     session (`pg_advisory_lock`), set without `LOCAL`"
                ))
            }
        },
        PerMigration::Off => Err("`transaction_per_migration` is off by its author's word".to_owned()),
        PerMigration::Hidden(spelled) => Err(format!(
            "`**{spelled}` may have it already; set `transaction_per_migration` where that comes from \
             (Flask-Migrate: `Migrate(…, transaction_per_migration=True)`), or here as its item"
        )),
    };
    // A transaction for each revision is committed, whatever is around it.
    let message = if not_begun && fix.is_ok() {
        "Without `context.begin_transaction()` or `transaction_per_migration`, SQLAlchemy 2 commits nothing"
    } else {
        "All pending revisions run in one transaction: each keeps its locks until the last has run"
    };
    Some(Violation {
        message: message.to_owned(),
        label: "one transaction for all revisions".to_owned(),
        place: configure.place,
        fix,
    })
}

/// What keeps Alembic from beginning and committing.
fn obstructs(obstacle: &Obstacle, configure: &Configure, environment: &Environment) -> Option<Violation> {
    let callee = environment.module.text(obstacle.place.callee);
    let (message, label, advice) = match &obstacle.kind {
        ObstacleKind::Begun => (
            format!(
                "`{callee}()` puts all revisions into one transaction that Alembic can't commit, and \
                 `autocommit_block()` fails in it"
            ),
            "a transaction around all revisions",
            "leave the transaction to Alembic: take a connection from `engine.connect()`, and call \
             `context.run_migrations()` in `with context.begin_transaction():`"
                .to_owned(),
        ),
        ObstacleKind::Statement(text) => (
            format!(
                "`{callee}()` before `context.configure()` begins a transaction, which Alembic does not commit \
                 and in which `autocommit_block()` fails"
            ),
            "begins a transaction with SQLAlchemy 2",
            match text.as_deref().and_then(setting) {
                Some((name, value)) => format!(
                    "give the setting to the connection instead (`?options=-c%20{name}%3D{value}` in its URL), \
                     or follow it with `.commit()`"
                ),
                None => "follow it with `.commit()`, or use another connection for it".to_owned(),
            },
        ),
        ObstacleKind::NotBegun => {
            if matches!(configure.per_migration, PerMigration::On | PerMigration::Missing) {
                return None;
            }
            (
                format!(
                    "`{callee}()` without `context.begin_transaction()`: with SQLAlchemy 2 nothing is \
                     committed, and `autocommit_block()` fails"
                ),
                "nobody commits this",
                "call it in `with context.begin_transaction():`".to_owned(),
            )
        }
    };
    Some(Violation { message, label: label.to_owned(), place: obstacle.place, fix: Err(advice) })
}

/// The name and the value of `SET name = value`, when they can stand in a URL.
fn setting(sql: &str) -> Option<(String, String)> {
    let words: Vec<_> = sql.split(|letter: char| letter.is_whitespace() || letter == '=').collect();
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    if !words.next()?.eq_ignore_ascii_case("set") {
        return None;
    }
    let mut words = words.filter(|word| !["session", "local", "to"].contains(&word.to_ascii_lowercase().as_str()));
    let name = words.next()?.to_ascii_lowercase();
    let plain = |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    let value = words.next().map(|word| word.trim_matches(['\'', '"', ';'])).filter(|word| plain(word));
    plain(&name).then(|| (name, value.unwrap_or("…").to_owned()))
}
