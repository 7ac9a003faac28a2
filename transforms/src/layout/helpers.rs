//! The private functions that a rewritten migration may call, written once below `downgrade`.
//!
//! They quote names as SQLAlchemy does, work online and offline, and contain no `%` (which some
//! parameter styles double).

use ruff_python_ast::{Expr, Stmt, StmtFunctionDef};

use super::type_change;
use crate::recipe::Phase;

/// One of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Helper {
    DropInvalidIndex,
    AddUniqueUsingIndex,
    AddPrimaryKeyUsingIndex,
    DropConstraint,
    DropNotValidConstraint,
    ValidateConstraint,
    ProveNotNull,
    DropNotNullProof,
    Backfill,
    BackfillByPlace,
    LockTimeout,
    FailOnPostgresql,
    HoldsOn,
    Settled,
    ExecuteWithRetries,
    TypeChange,
    StartTypeChange,
    FillNewColumns,
    FillNewColumnsByPlace,
    CopyIndex,
    CopyConstraints,
    SwitchColumns,
    DropOldColumns,
}

/// All of them, in the order in which they are written.
pub(crate) const ALL: [Helper; 23] = [
    Helper::DropInvalidIndex,
    Helper::AddUniqueUsingIndex,
    Helper::AddPrimaryKeyUsingIndex,
    Helper::DropConstraint,
    Helper::DropNotValidConstraint,
    Helper::ValidateConstraint,
    Helper::ProveNotNull,
    Helper::DropNotNullProof,
    Helper::Backfill,
    Helper::BackfillByPlace,
    Helper::LockTimeout,
    Helper::FailOnPostgresql,
    Helper::HoldsOn,
    Helper::Settled,
    Helper::ExecuteWithRetries,
    Helper::TypeChange,
    Helper::StartTypeChange,
    Helper::FillNewColumns,
    Helper::FillNewColumnsByPlace,
    Helper::CopyIndex,
    Helper::CopyConstraints,
    Helper::SwitchColumns,
    Helper::DropOldColumns,
];

/// The function that makes a constraint of an index: its name, what follows its parameters, its docstring, and the
/// constraint.
macro_rules! using_index {
    ($function:literal, $parameters:literal, $docstring:literal, $constraint:literal) => {
        concat!(
            "def ",
            $function,
            "(constraint_name, table_name, schema=None",
            $parameters,
            "):\n    \"\"\"",
            $docstring,
            r#""""
    quote = op.get_context().dialect.identifier_preparer.quote
    prefix = f"{quote(schema)}." if schema else ""
    table, name = f"{prefix}{quote(table_name)}", quote(constraint_name)
    op.execute(
        f"""
        DO $$
        BEGIN
            IF NOT EXISTS (
                SELECT FROM pg_constraint
                WHERE conrelid = to_regclass('{table}') AND conname = '{constraint_name}'
            ) THEN
                ALTER TABLE {table} ADD CONSTRAINT {name} "#,
            $constraint,
            r#";
            END IF;
        END
        $$
        """
    )
"#
        )
    };
}

impl Helper {
    /// The helper that a function of a file is, told by its name and its docstring.
    #[must_use]
    pub(crate) fn of(function: &StmtFunctionDef) -> Option<Self> {
        let is_its = |helper: &Self| [helper.name(), helper.spelled()].contains(&function.name.as_str());
        let helper = ALL.into_iter().find(is_its)?;
        let Some(Stmt::Expr(first)) = function.body.first() else { return None };
        let docstring = first.value.as_string_literal_expr()?;
        (docstring.value.to_str() == helper.docstring()).then_some(helper)
    }

    /// Whether a statement is a call of the function, without arguments.
    pub(crate) fn is_called(self, statement: Option<&Stmt>) -> bool {
        let Some(Stmt::Expr(expression)) = statement else { return false };
        let Some(call) = expression.value.as_call_expr() else { return false };
        call.arguments.is_empty() && self.is_spelled(&call.func)
    }

    /// Whether this is how the function is called, in the file or in a module.
    pub(crate) fn is_spelled(self, callee: &Expr) -> bool {
        match callee {
            Expr::Name(name) => name.id == self.name(),
            Expr::Attribute(attribute) => attribute.attr.as_str() == self.spelled(),
            _ => false,
        }
    }

    /// The name of the function in a module that migrations import. What only other functions call stays private.
    #[must_use]
    pub(crate) fn spelled(self) -> &'static str {
        match self {
            Self::ExecuteWithRetries | Self::TypeChange => self.name(),
            _ => self.name().trim_start_matches('_'),
        }
    }

    /// The phase of a type change whose step it is.
    pub(crate) fn phase(self) -> Option<Phase> {
        match self {
            Self::StartTypeChange => Some(Phase::Expand),
            Self::FillNewColumns | Self::FillNewColumnsByPlace | Self::CopyIndex | Self::CopyConstraints => {
                Some(Phase::Backfill)
            }
            Self::SwitchColumns => Some(Phase::Switch),
            Self::DropOldColumns => Some(Phase::Contract),
            _ => None,
        }
    }

    /// The name of the function.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DropInvalidIndex => "_drop_invalid_index",
            Self::AddUniqueUsingIndex => "_add_unique_using_index",
            Self::AddPrimaryKeyUsingIndex => "_add_primary_key_using_index",
            Self::DropConstraint => "_drop_constraint_if_exists",
            Self::DropNotValidConstraint => "_drop_not_valid_constraint",
            Self::ValidateConstraint => "_validate_constraint",
            Self::ProveNotNull => "_prove_not_null",
            Self::DropNotNullProof => "_drop_not_null_proof",
            Self::Backfill => "_backfill",
            Self::BackfillByPlace => "_backfill_by_place",
            Self::LockTimeout => "_lock_timeout",
            Self::FailOnPostgresql => "_fail_on_postgresql",
            Self::HoldsOn => "_holds_on",
            Self::Settled => "_settled",
            Self::ExecuteWithRetries => "_execute_with_retries",
            Self::TypeChange => "_type_change",
            Self::StartTypeChange => "_start_type_change",
            Self::FillNewColumns => "_fill_new_columns",
            Self::FillNewColumnsByPlace => "_fill_new_columns_by_place",
            Self::CopyIndex => "_copy_index",
            Self::CopyConstraints => "_copy_constraints",
            Self::SwitchColumns => "_switch_columns",
            Self::DropOldColumns => "_drop_old_columns",
        }
    }

    fn docstring(self) -> &'static str {
        match self {
            Self::DropInvalidIndex => {
                "Drop the INVALID index that an interrupted concurrent build leaves behind."
            }
            Self::AddUniqueUsingIndex => {
                "Make a unique index a constraint, unless an earlier run already did."
            }
            Self::AddPrimaryKeyUsingIndex => {
                "Make a unique index the primary key, unless an earlier run already did."
            }
            Self::DropConstraint => "Drop the constraint that an interrupted run leaves behind.",
            Self::DropNotValidConstraint => {
                "Drop the constraint that an interrupted run leaves NOT VALID behind."
            }
            Self::ValidateConstraint => "Check the rows that were there before the constraint.",
            Self::ProveNotNull => {
                "Check that a column has no NULL, by a constraint that SET NOT NULL trusts."
            }
            Self::DropNotNullProof => "Drop the constraint that proved a column to have no NULL.",
            Self::Backfill => "Update a table in batches of 10000 rows, each in a transaction of its own.",
            Self::BackfillByPlace => {
                "Update a table in batches of 500 pages, each in a transaction of its own."
            }
            Self::FailOnPostgresql => {
                "On PostgreSQL, let a failed statement end the migration, as in a transaction."
            }
            Self::HoldsOn => {
                "Whether a condition holds, or did when an interrupted run of this migration began what it guards."
            }
            Self::Settled => "Drop the mark of a condition: all that it guards is done.",
            Self::LockTimeout => "Wait for a lock no longer than this; then the session's own value is back.",
            Self::ExecuteWithRetries => {
                "Run SQL in one transaction that gives up its locks and tries again when it can't have all at once."
            }
            Self::TypeChange => "The names and the queries that the steps of a type change share.",
            Self::StartTypeChange => {
                "Add columns of the new types, and a trigger that fills them, unless something would be lost."
            }
            Self::FillNewColumns => {
                "Fill the new columns in batches of 10000 rows; if a value does not fit, take everything back."
            }
            Self::FillNewColumnsByPlace => {
                "Fill the new columns in batches of 500 pages; if a value does not fit, take everything back."
            }
            Self::CopyIndex => "Build the copy of an index on the new columns, without stopping writers.",
            Self::CopyConstraints => {
                "Copy NOT NULL, checks and foreign keys to the new columns, and validate them without stopping writers."
            }
            Self::SwitchColumns => {
                "Give the new columns the old ones' names and all that is on them, in one short transaction."
            }
            Self::DropOldColumns => {
                "Drop the columns that were replaced, or the new ones of a change that is given up."
            }
        }
    }

    /// The function's source, with four spaces and `op` as names of indentation and module.
    #[expect(clippy::too_many_lines, reason = "the functions are written out")]
    fn template(self) -> &'static str {
        match self {
            Self::DropInvalidIndex => {
                r#"def _drop_invalid_index(index_name, schema=None):
    """Drop the INVALID index that an interrupted concurrent build leaves behind."""
    if op.get_context().dialect.name != "postgresql":
        return
    quote = op.get_context().dialect.identifier_preparer.quote
    prefix = f"{quote(schema)}." if schema else ""
    invalid = quote(f"{index_name[:55]}_invalid")
    op.execute(
        f"""
        DO $$
        BEGIN
            IF EXISTS (
                SELECT FROM pg_index
                WHERE indexrelid = to_regclass('{prefix}{quote(index_name)}') AND NOT indisvalid
            ) THEN
                ALTER INDEX {prefix}{quote(index_name)} RENAME TO {invalid};
            END IF;
        END
        $$
        """
    )
    op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {prefix}{invalid}")
"#
            }
            Self::AddUniqueUsingIndex => using_index!(
                "_add_unique_using_index",
                ", attributes=\"\"",
                "Make a unique index a constraint, unless an earlier run already did.",
                "UNIQUE USING INDEX {name} {attributes}"
            ),
            Self::AddPrimaryKeyUsingIndex => using_index!(
                "_add_primary_key_using_index",
                "",
                "Make a unique index the primary key, unless an earlier run already did.",
                "PRIMARY KEY USING INDEX {name}"
            ),
            Self::DropConstraint => {
                r#"def _drop_constraint_if_exists(constraint_name, table_name, schema=None):
    """Drop the constraint that an interrupted run leaves behind."""
    quote = op.get_context().dialect.identifier_preparer.quote
    prefix = f"{quote(schema)}." if schema else ""
    op.execute(f"ALTER TABLE {prefix}{quote(table_name)} DROP CONSTRAINT IF EXISTS {quote(constraint_name)}")
"#
            }
            Self::DropNotValidConstraint => {
                r#"def _drop_not_valid_constraint(constraint_name, table_name, schema=None):
    """Drop the constraint that an interrupted run leaves NOT VALID behind."""
    if op.get_context().dialect.name != "postgresql":
        return
    quote = op.get_context().dialect.identifier_preparer.quote
    prefix = f"{quote(schema)}." if schema else ""
    table, name = f"{prefix}{quote(table_name)}", quote(constraint_name)
    op.execute(
        f"""
        DO $$
        BEGIN
            IF EXISTS (
                SELECT FROM pg_constraint
                WHERE conrelid = to_regclass('{table}') AND conname = '{constraint_name}' AND NOT convalidated
            ) THEN
                ALTER TABLE {table} DROP CONSTRAINT {name};
            END IF;
        END
        $$
        """
    )
"#
            }
            Self::ValidateConstraint => {
                r#"def _validate_constraint(constraint_name, table_name, schema=None):
    """Check the rows that were there before the constraint."""
    quote = op.get_context().dialect.identifier_preparer.quote
    prefix = f"{quote(schema)}." if schema else ""
    op.execute(f"ALTER TABLE {prefix}{quote(table_name)} VALIDATE CONSTRAINT {quote(constraint_name)}")
"#
            }
            Self::ProveNotNull => {
                r#"def _prove_not_null(table_name, column_name, schema=None):
    """Check that a column has no NULL, by a constraint that SET NOT NULL trusts."""
    quote = op.get_context().dialect.identifier_preparer.quote
    prefix = f"{quote(schema)}." if schema else ""
    table, name = f"{prefix}{quote(table_name)}", quote(f"safemig_{table_name}_{column_name}_nn")
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({quote(column_name)} IS NOT NULL) NOT VALID")
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
"#
            }
            Self::DropNotNullProof => {
                r#"def _drop_not_null_proof(table_name, column_name, schema=None):
    """Drop the constraint that proved a column to have no NULL."""
    quote = op.get_context().dialect.identifier_preparer.quote
    prefix = f"{quote(schema)}." if schema else ""
    name = quote(f"safemig_{table_name}_{column_name}_nn")
    op.execute(f"ALTER TABLE {prefix}{quote(table_name)} DROP CONSTRAINT IF EXISTS {name}")
"#
            }
            // No type of the key is needed: the records take it from the table. Both ends of a batch
            // are known, so that the planner can use the index for both.
            Self::Backfill => {
                r#"def _backfill(table, key, assignments, where="true"):
    """Update a table in batches of 10000 rows, each in a transaction of its own."""
    columns = [column.split(".")[-1] for column in key.split(", ")]
    first = ", ".join(f"batch_start.{column}" for column in columns)
    last = ", ".join(f"batch_end.{column}" for column in columns)
    descending = ", ".join(f"{column} DESC" for column in columns)
    op.execute("SET statement_timeout = 0")
    op.execute(
        f"""
        DO $$
        DECLARE
            batch_start record;
            batch_end record;
        BEGIN
            SELECT {key} INTO batch_start FROM {table} ORDER BY {key} LIMIT 1;
            WHILE FOUND LOOP
                SELECT * INTO batch_end FROM (
                    SELECT {key} FROM {table} WHERE ({key}) >= ({first}) ORDER BY {key} LIMIT 10000
                ) AS batch ORDER BY {descending} LIMIT 1;
                UPDATE {table} {assignments}
                WHERE ({key}) >= ({first}) AND ({key}) <= ({last}) AND ({where});
                COMMIT;
                SELECT {key} INTO batch_start FROM {table} WHERE ({key}) > ({last}) ORDER BY {key} LIMIT 1;
            END LOOP;
        END
        $$
        """
    )
    op.execute("RESET statement_timeout")
"#
            }
            // Rows that others change meanwhile move to other pages; the second loop finds them.
            Self::BackfillByPlace => {
                r#"def _backfill_by_place(table, assignments, where):
    """Update a table in batches of 500 pages, each in a transaction of its own."""
    op.execute("SET statement_timeout = 0")
    op.execute(
        f"""
        DO $$
        DECLARE
            batch_page bigint := 0;
            batch_pages bigint := pg_relation_size('{table}') / current_setting('block_size')::bigint;
        BEGIN
            WHILE batch_page < batch_pages LOOP
                UPDATE {table} {assignments}
                WHERE ctid >= ('(' || batch_page || ',0)')::tid
                AND ctid < ('(' || batch_page + 500 || ',0)')::tid AND ({where});
                COMMIT;
                batch_page := batch_page + 500;
            END LOOP;
            LOOP
                UPDATE {table} {assignments}
                WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {where} LIMIT 10000)) AND ({where});
                EXIT WHEN NOT FOUND;
                COMMIT;
            END LOOP;
        END
        $$
        """
    )
    op.execute("RESET statement_timeout")
"#
            }
            // In a transaction all is local, so that a `SET LOCAL` of somebody else stays as local as it
            // was; in an autocommit block that would do nothing, and `safemig.local` is gone at once.
            // After a failure a rollback brings the value back, or the session ends.
            // The mark is made in the transaction that changes the answer, so that it is there exactly if that is.
            Self::HoldsOn => {
                r#"def _holds_on(mark, answer):
    """Whether a condition holds, or did when an interrupted run of this migration began what it guards."""
    context = op.get_context()
    if context.dialect.name != "postgresql" or context.as_sql:
        return answer
    marked = op.get_bind().exec_driver_sql(f"SELECT to_regclass('{mark}') IS NOT NULL").scalar()
    if answer and not marked:
        op.execute(f"CREATE TABLE {mark} ()")
    return answer or marked
"#
            }
            Self::Settled => {
                r#"def _settled(mark):
    """Drop the mark of a condition: all that it guards is done."""
    context = op.get_context()
    if context.dialect.name == "postgresql" and not context.as_sql:
        op.execute(f"DROP TABLE IF EXISTS {mark}")
"#
            }
            Self::FailOnPostgresql => {
                r#"def _fail_on_postgresql():
    """On PostgreSQL, let a failed statement end the migration, as in a transaction."""
    import sys

    from sqlalchemy.exc import DBAPIError

    if op.get_context().dialect.name == "postgresql" and isinstance(sys.exc_info()[1], DBAPIError):
        raise
"#
            }
            Self::LockTimeout => {
                r#"@contextmanager
def _lock_timeout(timeout):
    """Wait for a lock no longer than this; then the session's own value is back."""
    postgresql = op.get_context().dialect.name == "postgresql"
    local = "current_setting('safemig.local', true) = 'true'"
    if postgresql:
        op.execute("SELECT set_config('safemig.lock_timeout', current_setting('lock_timeout'), false)")
        op.execute("SELECT set_config('safemig.local', 'true', true)")
        op.execute(f"SELECT set_config('lock_timeout', '{timeout}', {local})")
    yield
    if postgresql:
        op.execute(f"SELECT set_config('lock_timeout', current_setting('safemig.lock_timeout'), {local})")
"#
            }
            Self::ExecuteWithRetries => type_change::EXECUTE_WITH_RETRIES,
            Self::TypeChange => type_change::NAMES,
            Self::StartTypeChange => type_change::START,
            Self::FillNewColumns => type_change::FILL,
            Self::FillNewColumnsByPlace => type_change::FILL_BY_PLACE,
            Self::CopyIndex => type_change::COPY_INDEX,
            Self::CopyConstraints => type_change::COPY_CONSTRAINTS,
            Self::SwitchColumns => type_change::SWITCH,
            Self::DropOldColumns => type_change::DROP_OLD,
        }
    }

    /// The functions that it calls itself.
    #[must_use]
    pub(crate) fn needs(self) -> &'static [Self] {
        match self {
            Self::StartTypeChange | Self::CopyConstraints | Self::SwitchColumns | Self::DropOldColumns => {
                &[Self::ExecuteWithRetries, Self::TypeChange]
            }
            Self::FillNewColumns | Self::FillNewColumnsByPlace => &[Self::TypeChange],
            Self::CopyIndex => &[Self::DropInvalidIndex, Self::ExecuteWithRetries, Self::TypeChange],
            _ => &[],
        }
    }

    /// What its source needs from the standard library: a module and a name in it.
    #[must_use]
    pub(crate) fn import(self) -> Option<(&'static str, &'static str)> {
        (self == Self::LockTimeout).then_some(("contextlib", "contextmanager"))
    }

    /// The function for a module that migrations import, where the others have no underscores.
    #[must_use]
    pub(crate) fn public_source(self, op: &str, unit: &str, newline: &str) -> String {
        let mut text = self.source(op, unit, newline);
        for helper in self.needs().iter().chain([&self]) {
            // Strings and comments have none of the names.
            text = text.replace(&format!("{}(", helper.name()), &format!("{}(", helper.spelled()));
        }
        text
    }

    /// The function for a file that indents by `unit` and calls the operations `op`.
    #[must_use]
    pub(crate) fn source(self, op: &str, unit: &str, newline: &str) -> String {
        let mut text = String::new();
        for line in self.template().lines() {
            let blank = line.len() - line.trim_start().len();
            // Only the code's own indentation follows the file; the SQL keeps its shape.
            text.push_str(&unit.repeat(blank / 4));
            text.push_str(&line.trim_start().replace("op.", &format!("{op}.")));
            text.push_str(newline);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::Module;

    #[test]
    fn every_helper_is_valid_python_and_recognised() {
        for helper in ALL {
            {
                let source = helper.source("o", "\t", "\r\n");
                let module = Module::parse(source).expect("a helper parses");
                let [Stmt::FunctionDef(function)] = module.body() else { panic!("one function") };
                assert_eq!(function.name.as_str(), helper.name());
                assert_eq!(Helper::of(function), Some(helper));
                let public = Module::parse(helper.public_source("o", "\t", "\r\n")).expect("a helper parses");
                let [Stmt::FunctionDef(function)] = public.body() else { panic!("one function") };
                assert_eq!((function.name.as_str(), Helper::of(function)), (helper.spelled(), Some(helper)));
                for other in ALL.iter().filter(|other| other.name() != other.spelled()) {
                    assert!(!public.source().contains(&format!("{}(", other.name())), "{}", public.source());
                }
                assert!(!module.source().contains('%'));
            }
        }
    }
}
