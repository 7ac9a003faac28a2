//! Give up soon when others hold a lock, and don't stop everybody behind it.
//!
//! ## Why is this unsafe?
//! Also a change that takes a moment needs a strong lock: ACCESS EXCLUSIVE for nearly every
//! `ALTER TABLE`, SHARE ROW EXCLUSIVE on both tables of a foreign key. It waits for it as long as any
//! other transaction uses the table, a report or a backup. And everybody who comes later waits behind
//! it, readers included: a moment's change stops the table for as long as the longest query runs. With
//! a `lock_timeout` the migration fails instead after that time, and can be tried again. Source:
//! PostgreSQL manual, "Client Connection Defaults", `lock_timeout`.
//!
//! The value holds for these statements only, and the session has its own back afterwards, in a
//! transaction and in an autocommit block. It limits how long a statement waits for a lock, not how
//! long the lock is held: that is until the transaction ends. What has to wait gets none: a concurrent
//! build or drop of an index that is given up leaves an INVALID index, and `VALIDATE CONSTRAINT` and a
//! batched `UPDATE` stop nobody.
//!
//! Only with `lock-timeout` in the configuration. Not reported: tables that the same migration
//! creates, and statements for which the migration sets `lock_timeout` itself. A project whose `env.py`
//! or connection URL sets it is left alone altogether. What another rule rewrites comes first; the
//! strong locks of the steps that it writes get the timeout, too.
//!
//! ## Unsafe
//! Settings: `lock-timeout = "5s"`
//!
//! ```python
//! """Orders know who packed them."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "70c4ed0ff1ce"
//! down_revision = "0ddba11c0de5"
//!
//!
//! def upgrade():
//!     op.add_column("orders", sa.Column("packer_id", sa.Integer(), nullable=True))
//!     op.create_foreign_key("fk_orders_packer", "orders", "staff", ["packer_id"], ["id"])
//!
//!
//! def downgrade():
//!     op.drop_constraint("fk_orders_packer", "orders", type_="foreignkey")
//!     op.drop_column("orders", "packer_id")
//! ```
//!
//! ## Safe
//! ```python
//! """Orders know who packed them."""
//! from contextlib import contextmanager
//!
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "70c4ed0ff1ce"
//! down_revision = "0ddba11c0de5"
//!
//!
//! def upgrade():
//!     with _lock_timeout("5s"):
//!         op.add_column("orders", sa.Column("packer_id", sa.Integer(), nullable=True))
//!     with op.get_context().autocommit_block():
//!         with _lock_timeout("5s"):
//!             op.execute("ALTER TABLE orders DROP CONSTRAINT IF EXISTS fk_orders_packer")
//!             op.create_foreign_key("fk_orders_packer", "orders", "staff", ["packer_id"], ["id"], postgresql_not_valid=True)
//!         op.execute("ALTER TABLE orders VALIDATE CONSTRAINT fk_orders_packer")
//!
//!
//! def downgrade():
//!     with _lock_timeout("5s"):
//!         op.drop_constraint("fk_orders_packer", "orders", type_="foreignkey")
//!         op.drop_column("orders", "packer_id")
//!
//!
//! @contextmanager
//! def _lock_timeout(timeout):
//!     """Wait for a lock no longer than this; then the session's own value is back."""
//!     postgresql = op.get_context().dialect.name == "postgresql"
//!     local = "current_setting('safemig.local', true) = 'true'"
//!     if postgresql:
//!         op.execute("SELECT set_config('safemig.lock_timeout', current_setting('lock_timeout'), false)")
//!         op.execute("SELECT set_config('safemig.local', 'true', true)")
//!         op.execute(f"SELECT set_config('lock_timeout', '{timeout}', {local})")
//!     yield
//!     if postgresql:
//!         op.execute(f"SELECT set_config('lock_timeout', current_setting('safemig.lock_timeout'), {local})")
//! ```

use super::only_concurrent_indexes::display;
use super::{Context, Violation};
use crate::operations::{Locked, Operation, OperationKind};
use crate::recipe::{Action, Around, Change, Cost, Recipe, Step};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let timeout = context.settings.lock_timeout.as_ref()?;
    if operation.lock_timeout || is_set(operation, context.earlier) {
        return None;
    }
    let is_new = |locked: &Locked| locked.table.as_ref().is_some_and(|table| context.new_tables.contains(table));
    let mut locks = operation.locks();
    locks.retain(|locked| locked.lock.stops_writers() && !is_new(locked));
    let lock = locks.iter().map(|locked| locked.lock).max()?;
    let on: Vec<_> =
        locks.iter().map(|locked| display(locked.table.as_ref().map(ToString::to_string).as_deref())).collect();
    let on = on.join(" and ");
    let step = Step {
        action: Action::Original(Change::default()),
        lock,
        cost: Cost::Instant,
        for_rerun: false,
    };
    Some(Violation {
        message: format!("{} waits for {lock} on {on} as long as others use it, and stops all who come later", what(&operation.kind)),
        lock: format!("{lock} on {on}, however long that takes"),
        fix: context.can_be_given_up(operation).map(|()| Recipe {
            around: Around::LockTimeout(timeout.clone()),
            ..Recipe::new(vec![step])
        }),
    })
}

/// What the operation does, as the beginning of a sentence.
fn what(kind: &OperationKind) -> String {
    let (verb, name) = match kind {
        OperationKind::CreateTable { table, .. } => ("Creating table", table.name.value.symbol()),
        OperationKind::DropTable { table, .. } => ("Dropping table", table.name.value.symbol()),
        OperationKind::RenameTable { table, .. } => ("Renaming table", table.name.value.symbol()),
        OperationKind::AddColumn { definition, .. } => {
            ("Adding column", definition.columns.first().map(|column| column.name.as_str()))
        }
        OperationKind::DropColumn { column, .. } => ("Dropping column", column.value.symbol()),
        OperationKind::AlterColumn(alter) => ("Changing column", alter.column.value.symbol()),
        OperationKind::CreateIndex(index) => ("Creating index", index.name.value.symbol()),
        OperationKind::DropIndex(index) => ("Dropping index", index.name.value.symbol()),
        OperationKind::AddConstraint(add) => ("Adding constraint", add.name.value.symbol()),
        OperationKind::DropConstraint { name, .. } => ("Dropping constraint", name.value.symbol()),
        OperationKind::UseIndex { name, .. } => ("Attaching constraint", Some(name.as_str())),
        OperationKind::RenameConstraint { old, .. } => ("Renaming constraint", Some(old.as_str())),
        _ => return "This".to_owned(),
    };
    match name {
        Some(name) => format!("{verb} `{name}`"),
        None => verb.to_owned(),
    }
}

/// Whether the migration has set a `lock_timeout` that holds for an operation.
fn is_set(operation: &Operation, earlier: &[Operation]) -> bool {
    let (mut session, mut local) = (false, false);
    for before in earlier {
        if before.autocommit || before.kind == OperationKind::Commit {
            local = false;
        }
        match Setting::of(&before.kind) {
            // Outside of a transaction it holds as long as the text that it is part of.
            Some(Setting { local: true, on }) => {
                local = on && (!before.autocommit || before.origin.call == operation.origin.call);
            }
            Some(Setting { local: false, on }) => (session, local) = (on, false),
            None => {}
        }
    }
    let same_transaction = |last: &Operation| !operation.autocommit || last.origin.call == operation.origin.call;
    session || (local && earlier.last().is_some_and(same_transaction))
}

/// What a statement does with `lock_timeout`.
struct Setting {
    /// Until the transaction ends.
    local: bool,
    /// Whether there is one afterwards.
    on: bool,
}

impl Setting {
    fn of(kind: &OperationKind) -> Option<Self> {
        let OperationKind::Harmless { sql: Some(sql) } = kind else { return None };
        let sql = sql.to_lowercase();
        let separators = |c: char| c.is_whitespace() || "=',();\"".contains(c);
        let words: Vec<_> = sql.split(separators).filter(|word| !word.is_empty()).collect();
        let is_time = |value: &str| value.starts_with(|c: char| c.is_ascii_digit() && c != '0');
        match words.as_slice() {
            ["reset", "lock_timeout" | "all"] | ["discard", "all"] => Some(Self { local: false, on: false }),
            ["set", "local", "lock_timeout", rest @ ..] => {
                Some(Self { local: true, on: rest.last().is_some_and(|value| is_time(value)) })
            }
            ["set", "session", "lock_timeout", rest @ ..] | ["set", "lock_timeout", rest @ ..] => {
                Some(Self { local: false, on: rest.iter().any(|value| is_time(value)) })
            }
            ["select", function, "lock_timeout", value, local] if function.ends_with("set_config") => {
                Some(Self { local: *local == "true", on: is_time(value) })
            }
            _ => None,
        }
    }
}
