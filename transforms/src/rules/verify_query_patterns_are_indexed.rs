//! Have an index for what the application looks for.
//!
//! ## Why is this unsafe?
//! A query that no index serves reads the whole table each time. That is fast as long as the table is small, and
//! nobody notices until it isn't.
//!
//! This rule reads the application: its models (declarative ones, mixins, `Table(…)`, `SQLModel`, Flask's)
//! and its queries (`select()`, `session.query()`, `Model.query`, `update()`, `delete()`, joins, relationships). It
//! compares what they look for with the indexes of the database that the migrations make, or with those of the
//! models where there are no migrations.
//!
//! An index is missing only where something says that the table grows, and that few of its rows are looked for:
//!
//! - A table grows whose rows belong to those of another one that does (`ForeignKey`, not `NULL`) or may belong to
//!   people, which holds people (`email`), which keeps what has happened (`history`, `log`, `events`), or whose rows have
//!   a date; unless the application reads it whole somewhere, its rows are told apart by a unique name, also within a
//!   tenant, or the date comes from a base that gives it to such tables, too.
//! - A column has many values if it references a table that grows, with a `ForeignKey` or by its name (`author_id`), or
//!   if its values are made to differ: what is unique, a UUID, a date, a `token`, `email`, `url` or `path`, and what is
//!   looked for by its beginning (`LIKE 'x%'`).
//! - A table doesn't grow if its name says that its rows wait for something or are held for a while: `pending_orders`,
//!   `mail_queue`, a lock, a lease, a slot, a cleanup. Nor do `small-tables`, whatever they look like.
//!
//! Not everything that could look for rows counts:
//!
//! - A relationship does where its attribute is read (`user.posts`), a loader names it (`joinedload(User.posts)`), a
//!   schema has a field of its name, or it is loaded with each row (`lazy="selectin"`). Many are declared and never
//!   used.
//! - A `DELETE` of what equals something doesn't if it is the only one: what it deletes is looked for once. It does
//!   where the rows reference some that are deleted as well, as PostgreSQL looks for them by itself then.
//!
//! Nothing is reported that was not resolved; `--statistics` says how many queries were, why others were not, and which
//! tables are taken for small.
//! One line each says where models and migrations don't have the same indexes.
//!
//! It is checked where application files are named (`safemig check src/`), or where it is selected by name.
//!
//! ## Unsafe
//! ```python
//! class Order(Base):
//!     __tablename__ = "orders"
//!
//!     id: Mapped[int] = mapped_column(primary_key=True)
//!     customer_id: Mapped[UUID] = mapped_column(Uuid)
//!     placed_at: Mapped[datetime]
//!
//!
//! def orders_of(session, customer_id):
//!     return session.scalars(select(Order).where(Order.customer_id == customer_id)).all()
//! ```
//!
//! ## Safe
//! ```python
//! class Order(Base):
//!     __tablename__ = "orders"
//!
//!     id: Mapped[int] = mapped_column(primary_key=True)
//!     customer_id: Mapped[UUID] = mapped_column(Uuid, index=True)
//!     placed_at: Mapped[datetime]
//!
//!
//! def orders_of(session, customer_id):
//!     return session.scalars(select(Order).where(Order.customer_id == customer_id)).all()
//! ```
//!
//! ## Fix safety
//! The fix declares the index on the model, and writes a revision at the head that creates it concurrently. It is
//! unsafe because an index is not free: whether the queries are worth it is for people to say.
//!
//! A btree refuses rows that would be longer than 2704 bytes in it. The fix says so where a column has no length, and
//! leaves a `Text` alone that references nothing.

use crate::application::{Study, Violation};

pub(super) fn check(study: &Study) -> Vec<Violation> {
    let mut found = Vec::new();
    for missing in study.missing() {
        let mut places = missing.places.into_iter();
        let Some((file, range)) = places.next() else { continue };
        let also: Vec<_> = places.collect();
        let columns: Vec<_> = missing.index.elements.iter().map(|element| format!("`{element}`")).collect();
        let who = match also.len() {
            0 => "1 place looks".to_owned(),
            others => format!("{} places look", others + 1),
        };
        found.push(Violation {
            message: format!(
                "{who} for rows of `{}` by {}, and no index helps",
                missing.index.table,
                columns.join(", ")
            ),
            label: "all rows are read".to_owned(),
            file,
            range,
            also,
            fix: missing.fix,
        });
    }
    found.extend(study.disagreements());
    found
}
