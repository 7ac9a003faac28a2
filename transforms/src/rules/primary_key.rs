//! Build the index of a primary key concurrently, then attach it.
//!
//! ## Why is this unsafe?
//! `ADD PRIMARY KEY` takes ACCESS EXCLUSIVE, reads every row to see that no column is NULL, and builds
//! an index under that lock: nobody can even read the table meanwhile. A unique index that was built
//! concurrently becomes the primary key in an instant with `PRIMARY KEY USING INDEX`, when valid check
//! constraints prove that there is no NULL.
//!
//! Alembic has no call for `USING INDEX`, so that step is SQL.
//!
//! ## Unsafe
//! ```python
//! """Tags of articles have a key."""
//! from alembic import op
//!
//! revision = "ca11ab1eca5e"
//! down_revision = "5e1f00d5ca1e"
//!
//!
//! def upgrade():
//!     op.create_primary_key("article_tag_pkey", "article_tag", ["tag_id"])
//!
//!
//! def downgrade():
//!     op.drop_constraint("article_tag_pkey", "article_tag", type_="primary")
//! ```
//!
//! ## Safe
//! ```python
//! """Tags of articles have a key."""
//! from alembic import op
//!
//! revision = "ca11ab1eca5e"
//! down_revision = "5e1f00d5ca1e"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         op.execute("ALTER TABLE article_tag DROP CONSTRAINT IF EXISTS safemig_article_tag_tag_id_nn")
//!         op.execute("ALTER TABLE article_tag ADD CONSTRAINT safemig_article_tag_tag_id_nn CHECK (tag_id IS NOT NULL) NOT VALID")
//!         op.execute("ALTER TABLE article_tag VALIDATE CONSTRAINT safemig_article_tag_tag_id_nn")
//!         _drop_invalid_index("article_tag_pkey")
//!         op.create_index("article_tag_pkey", "article_tag", ["tag_id"], unique=True, postgresql_concurrently=True, if_not_exists=True)
//!         _add_primary_key_using_index("article_tag_pkey", "article_tag")
//!         op.execute("ALTER TABLE article_tag DROP CONSTRAINT IF EXISTS safemig_article_tag_tag_id_nn")
//!
//!
//! def downgrade():
//!     op.drop_constraint("article_tag_pkey", "article_tag", type_="primary")
//! ```

use super::only_concurrent_indexes::display;
use super::split_not_null::prove;
use super::unique_constraint::using_index;
use super::{Context, Violation};
use crate::operations::{AddConstraint, ConstraintKind, Operation, OperationKind};
use crate::python::value::Arg;
use crate::recipe::{Cost, Lock, Recipe};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::AddConstraint(add) = &operation.kind else { return None };
    if add.kind != ConstraintKind::PrimaryKey {
        return None;
    }
    let table = add.table.known();
    if table.as_ref().is_some_and(|table| context.may_lock(table)) {
        return None;
    }
    let on = display(table.map(|table| table.to_string()).as_deref());
    Some(Violation {
        message: format!("Adding a primary key blocks reads and writes of {on} until its index is built"),
        lock: format!("{} on {on} {}", Lock::AccessExclusive, Cost::Build.duration()),
        fix: fix(operation, add, context),
    })
}

fn fix(operation: &Operation, add: &AddConstraint, context: &Context) -> Result<Recipe, String> {
    let build = using_index(operation, add, context)?.steps;
    let table = context.table(&add.table)?;
    let columns =
        add.columns.as_deref().ok_or_else(|| "its columns are not known before the migration runs".to_owned())?;
    let (mut steps, mut drops) = (Vec::new(), Vec::new());
    let known = context.catalog.table(&table);
    for column in columns.iter().filter(|column| !known.is_some_and(|known| known.is_not_null(column))) {
        let proof = prove(&add.table, &Arg::of(column), false, context)?;
        drops.extend(proof.done);
        steps.extend(proof.steps);
    }
    steps.extend(build);
    steps.extend(drops);
    Ok(Recipe::new(steps))
}
