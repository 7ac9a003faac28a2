//! Add a column first, then what comes with it, each without a long lock.
//!
//! ## Why is this unsafe?
//! Alembic makes several statements of `sa.Column(…, sa.ForeignKey(…), index=True)`: `ADD COLUMN`, which takes
//! ACCESS EXCLUSIVE for a moment, `ADD FOREIGN KEY`, which reads the whole table, and `CREATE INDEX`. All of
//! them run in one transaction, which keeps the lock of the first: nobody can even read the table until the rest is
//! done. That a new column holds nothing but NULL does not help: PostgreSQL looks at every row. Only in one statement,
//! `ADD COLUMN … REFERENCES …` without a default (`inline_references=True`, since Alembic 1.18.2), it knows that there
//! is nothing to check.
//!
//! On its own, the column is added in a moment. Each constraint and index then has its own way not to stop anybody:
//! see `split-foreign-key`, `split-check-constraint`, `unique-constraint` and `only-concurrent-indexes`. They get the
//! names that they would have got.
//!
//! ## Given
//! ```python
//! """Users."""
//! import sqlalchemy as sa
//! from alembic import op
//!
//! revision = "0fb1c2d3e4f5"
//! down_revision = None
//!
//!
//! def upgrade():
//!     op.create_table("users", sa.Column("id", sa.Integer(), primary_key=True))
//!     op.create_table("notes", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("body", sa.Text()))
//! ```
//!
//! ## Unsafe
//! Settings: `alembic-version = "1.16.0"`
//!
//! ```python
//! """Notes have an author."""
//! import sqlalchemy as sa
//! from alembic import op
//!
//! revision = "b6c7d8e9f0a1"
//! down_revision = "0fb1c2d3e4f5"
//!
//!
//! def upgrade():
//!     op.add_column("notes", sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE"), index=True))
//!
//!
//! def downgrade():
//!     op.drop_column("notes", "user_id")
//! ```
//!
//! ## Safe
//! ```python
//! """Notes have an author."""
//! import sqlalchemy as sa
//! from alembic import op
//!
//! revision = "b6c7d8e9f0a1"
//! down_revision = "0fb1c2d3e4f5"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         op.add_column("notes", sa.Column("user_id", sa.Integer()), if_not_exists=True)
//!         op.execute("ALTER TABLE notes DROP CONSTRAINT IF EXISTS notes_user_id_fkey")
//!         op.create_foreign_key("notes_user_id_fkey", "notes", "users", ["user_id"], ["id"], ondelete="CASCADE", postgresql_not_valid=True)
//!         op.execute("ALTER TABLE notes VALIDATE CONSTRAINT notes_user_id_fkey")
//!         _drop_invalid_index("ix_notes_user_id")
//!         op.create_index(op.f("ix_notes_user_id"), "notes", ["user_id"], postgresql_concurrently=True, if_not_exists=True)
//!
//!
//! def downgrade():
//!     op.drop_column("notes", "user_id")
//! ```

use super::only_concurrent_indexes::display;
use super::split_not_null::moment;
use super::{
    Context, Violation, only_concurrent_indexes, split_check_constraint, split_foreign_key, unique_constraint,
};
use crate::catalog::Catalog;
use crate::operations::{
    IndexElement,
    AddConstraint, Constraint, ConstraintKind, CreateIndex, Definition, InlineConstraint, Operation,
    OperationKind, TableArg,
};
use crate::python::value::{Arg, Value};
use crate::recipe::{Action, Argument, Call, Change, Cost, Lock, Recipe, Step};
use crate::settings::Rerun;

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::AddColumn { table, definition, if_not_exists } = &operation.kind else { return None };
    let column = definition.columns.first()?;
    let with = with(definition);
    let (_, cost) = with.iter().max_by_key(|(_, cost)| *cost)?;
    let name = table.known();
    if name.as_ref().is_some_and(|name| context.may_lock(name)) {
        return None;
    }
    let on = display(name.as_ref().map(ToString::to_string).as_deref());
    let referents: Vec<_> = definition
        .constraints
        .iter()
        .filter_map(|constraint| constraint.inline.as_ref()?.as_ref().ok()?.referent.as_ref())
        .filter(|(referent, _)| Some(referent) != name.as_ref())
        .map(|(referent, _)| format!(" and {} on `{referent}`", Lock::ShareRowExclusive))
        .collect();
    let what: Vec<_> = with.iter().map(|(what, _)| *what).collect();
    let until = if *cost == Cost::Build { "until its index is built" } else { "while every row is checked" };
    Some(Violation {
        message: format!(
            "Adding column `{}` with {} blocks reads and writes of {on} {until}",
            column.name,
            what.join(" and ")
        ),
        lock: format!("{} on {on}{} {}", Lock::AccessExclusive, referents.concat(), cost.duration()),
        fix: fix(operation, table, definition, *if_not_exists, context),
    })
}

/// What comes with the column that takes its time.
fn with(definition: &Definition) -> Vec<(&'static str, Cost)> {
    let is_empty = definition
        .columns
        .iter()
        .all(|column| column.nullable && column.server_default.is_none() && definition.generated.is_none());
    let constraints = definition.constraints.iter().filter_map(|constraint| match constraint.kind {
        ConstraintKind::ForeignKey if definition.inline_references && is_empty => None,
        ConstraintKind::ForeignKey => Some(("a foreign key", Cost::Scan)),
        ConstraintKind::Check => Some(("a check constraint", Cost::Scan)),
        ConstraintKind::Unique => Some(("a unique constraint", Cost::Build)),
        ConstraintKind::PrimaryKey => Some(("a primary key", Cost::Build)),
        ConstraintKind::Exclude => None,
    });
    let indexes = definition.indexes.iter().map(|index| {
        if index.unique { ("a unique index", Cost::Build) } else { ("an index", Cost::Build) }
    });
    constraints.chain(indexes).collect()
}

fn fix(
    operation: &Operation,
    table: &TableArg,
    definition: &Definition,
    keeps_existing: bool,
    context: &Context,
) -> Result<Recipe, String> {
    let mut change = column_first(operation, keeps_existing, context)?;
    change.column = Some(Box::default());
    let taken_out = take_out(operation, table, definition, &mut change, context)?;
    let mut steps = vec![moment(Action::Original(change), false)];
    steps.extend(taken_out);
    Ok(Recipe::new(steps))
}

/// What every fix does to a call that adds a column, and commits it before the rest is done.
pub(super) fn column_first(
    operation: &Operation,
    keeps_existing: bool,
    context: &Context,
) -> Result<Change, String> {
    context.can_leave_transaction(operation)?;
    let mut change = Change {
        // Only another database, or a copied table, would look at them.
        remove: vec!["insert_before", "insert_after"],
        ..Change::default()
    };
    if context.settings.rerun == Rerun::Repair {
        if operation.conditional && operation.origin.guards.is_empty() && !operation.origin.kept {
            return Err("a condition may take the column that an interrupted run adds for all that was to be done"
                .to_owned());
        }
        if !keeps_existing {
            if !context.target().column_if_exists() {
                return Err(
                    "a second run needs `add_column(if_not_exists=True)`, which Alembic has since 1.16.0"
                        .to_owned(),
                );
            }
            change.set.push(("if_not_exists", "True"));
        }
    }
    Ok(change)
}

/// Take everything out of a column's definition that takes its time, and return the steps that add it afterwards.
///
/// # Errors
/// One of them could not be added without a long lock.
pub(super) fn take_out(
    operation: &Operation,
    table: &TableArg,
    definition: &Definition,
    change: &mut Change,
    context: &Context,
) -> Result<Vec<Step>, String> {
    let Some(column) = definition.columns.first() else { return Err("its column could not be read".to_owned()) };
    if definition.constraints.is_empty() && definition.indexes.is_empty() {
        return Ok(Vec::new());
    }
    if column.type_.is_none() {
        return Err("the column has no type of its own".to_owned());
    }
    let unnamed = |kind| {
        let of_kind = definition.constraints.iter().filter(|constraint| constraint.kind == kind);
        of_kind.filter(|constraint| constraint.name == Value::None).count()
    };
    if unnamed(ConstraintKind::ForeignKey) > 1 || unnamed(ConstraintKind::Check) > 1 {
        return Err("it has several constraints without a name, which can be named in any order".to_owned());
    }
    change.remove.push("inline_references");
    if let Some(column) = &mut change.column {
        column.remove.extend(["index", "unique"]);
        column.remove_calls.extend(["ForeignKey", "CheckConstraint"]);
    }
    let bare = Definition {
        constraints: Vec::new(),
        indexes: Vec::new(),
        ..definition.clone()
    };
    let mut later = Later { operation, table, catalog: context.catalog.clone(), steps: Vec::new() };
    later.catalog.apply(&later.operation(OperationKind::AddColumn {
        table: table.clone(),
        definition: bare,
        if_not_exists: true,
    }));
    for constraint in &definition.constraints {
        later.constraint(constraint, &column.name, context)?;
    }
    for index in &definition.indexes {
        later.index(index.unique, &column.name, context)?;
    }
    Ok(later.steps)
}

/// What follows the column: each as an operation of its own, made safe by the rule that it belongs to.
struct Later<'a> {
    operation: &'a Operation,
    table: &'a TableArg,
    /// The database when the next one runs.
    catalog: Catalog,
    steps: Vec<Step>,
}

impl Later<'_> {
    fn operation(&self, kind: OperationKind) -> Operation {
        Operation { kind, ..self.operation.clone() }
    }

    fn constraint(&mut self, constraint: &Constraint, column: &str, context: &Context) -> Result<(), String> {
        let inline = match &constraint.inline {
            Some(inline) => inline.clone()?,
            None => return Err("its constraint is not spelled in Python".to_owned()),
        };
        let add = AddConstraint {
            name: inline.name.clone(),
            table: self.table.clone(),
            kind: constraint.kind,
            columns: Some(vec![column.to_owned()]),
            condition: constraint.condition.clone(),
            referent: inline.referent.as_ref().map(|(referent, _)| TableArg {
                name: Arg::of(&referent.name),
                schema: referent.schema.as_deref().map_or_else(Arg::absent, Arg::of),
            }),
            not_valid: false,
            deferrable: None,
            initially: None,
            options: crate::operations::IndexOptions::default(),
            keywords: Vec::new(),
        };
        let call = self.call(constraint.kind, inline, column)?;
        self.add(OperationKind::AddConstraint(add), &call, context)
    }

    /// The constraint as a call.
    fn call(&self, kind: ConstraintKind, inline: InlineConstraint, column: &str) -> Result<Call, String> {
        let schema = self.table.schema.clone();
        let of_table = |keyword| (!schema.is_none()).then(|| (keyword, Argument::Given(schema.clone())));
        let mut arguments = vec![Argument::Given(inline.name), Argument::Given(self.table.name.clone())];
        let columns = Argument::Texts(vec![column.to_owned()]);
        let mut keywords = Vec::new();
        let method = match (kind, inline.referent, inline.condition) {
            (ConstraintKind::ForeignKey, Some((referent, key)), _) => {
                arguments.extend([Argument::Text(referent.name), columns, Argument::Texts(vec![key])]);
                keywords.extend(of_table("source_schema"));
                keywords.extend(referent.schema.map(|schema| ("referent_schema", Argument::Text(schema))));
                "create_foreign_key"
            }
            (ConstraintKind::Check, _, Some(condition)) => {
                arguments.push(Argument::Given(condition));
                keywords.extend(of_table("schema"));
                "create_check_constraint"
            }
            (ConstraintKind::Unique, ..) => {
                arguments.push(columns);
                keywords.extend(of_table("schema"));
                "create_unique_constraint"
            }
            _ => return Err("it also becomes the primary key".to_owned()),
        };
        keywords.extend(inline.keywords.into_iter().map(|(keyword, arg)| (keyword, Argument::Given(arg))));
        Ok(Call { method, arguments, keywords })
    }

    /// `index=True`.
    fn index(&mut self, unique: bool, column: &str, context: &Context) -> Result<(), String> {
        let table = context.table(self.table)?;
        if self.table.schema.as_str() == Some("public") || table.to_string().contains('{') {
            return Err("the name of its index is not known before the migration runs".to_owned());
        }
        let elements = [IndexElement::Column(column.to_owned())];
        let name = self.catalog.index_name(&table, &elements, unique).ok_or_else(|| {
            "the name that the naming convention gives to its index is not known".to_owned()
        })?;
        let mut arguments = vec![Argument::Exact(name.clone()), Argument::Given(self.table.name.clone())];
        arguments.push(Argument::Texts(vec![column.to_owned()]));
        let mut keywords = Vec::new();
        if unique {
            keywords.push(("unique", Argument::Code("True")));
        }
        if !self.table.schema.is_none() {
            keywords.push(("schema", Argument::Given(self.table.schema.clone())));
        }
        let call = Call { method: "create_index", arguments, keywords };
        let create = CreateIndex {
            name: Arg::of(&name),
            table: self.table.clone(),
            elements: Some(elements.to_vec()),
            unique,
            options: crate::operations::IndexOptions::default(),
            concurrently: false,
            if_not_exists: false,
            only: false,
            definition: None,
        };
        self.add(OperationKind::CreateIndex(create), &call, context)
    }

    /// Add the steps that the operation's own rule answers.
    fn add(&mut self, kind: OperationKind, call: &Call, context: &Context) -> Result<(), String> {
        let operation = self.operation(kind);
        let context = Context { catalog: &self.catalog, ..*context };
        let violation = match &operation.kind {
            OperationKind::CreateIndex(_) => only_concurrent_indexes::check(&operation, &context),
            OperationKind::AddConstraint(add) => match add.kind {
                ConstraintKind::ForeignKey => split_foreign_key::check(&operation, &context),
                ConstraintKind::Check => split_check_constraint::check(&operation, &context),
                _ => unique_constraint::check(&operation, &context),
            },
            _ => None,
        };
        let recipe = violation.ok_or_else(|| "no rule knows what comes with it".to_owned())?.fix?;
        for mut step in recipe.steps {
            if let Action::Original(change) = &step.action {
                step.action = Action::Call(call.clone().changed(change));
            }
            self.steps.push(step);
        }
        self.catalog.apply(&operation);
        Ok(())
    }
}
