//! Remove a suppression that suppresses nothing.
//!
//! ## Why is this unsafe?
//! Nothing is locked. But who reads the comment believes that something is, and the day on which the
//! statement below becomes unsafe, nobody is told.
//!
//! Only names of rules that are checked count: a comment about a rule that is not selected, or in a
//! revision that is not judged, is left.
//!
//! ## Unsafe
//! ```python
//! """Ship to other countries."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "3c8a1d5e7f02"
//! down_revision = "ae4085f15bd6"
//!
//!
//! def upgrade():
//!     # safemig: ignore[only-concurrent-indexes] 200 rows
//!     op.add_column("countries", sa.Column("ships", sa.Boolean(), nullable=True))
//!
//!
//! def downgrade():
//!     op.drop_column("countries", "ships")
//! ```
//!
//! ## Safe
//! ```python
//! """Ship to other countries."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "3c8a1d5e7f02"
//! down_revision = "ae4085f15bd6"
//!
//!
//! def upgrade():
//!     op.add_column("countries", sa.Column("ships", sa.Boolean(), nullable=True))
//!
//!
//! def downgrade():
//!     op.drop_column("countries", "ships")
//! ```

use crate::suppression::Examined;

pub(super) fn check(examined: &Examined) -> Option<String> {
    let names: Vec<_> = examined.unused.iter().map(|name| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| format!("Nothing is suppressed that {} would report", names.join(" or ")))
}
