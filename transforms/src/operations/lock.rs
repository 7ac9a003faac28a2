//! The locks that operations take. Source: PostgreSQL manual, "Explicit Locking", "ALTER TABLE" and
//! the pages of the other statements; seen on servers from 12 to 18.

use super::{ConstraintKind, Operation, OperationKind, TableArg, TableName, sql};
use crate::recipe::Lock;

/// A table, or another relation that queries read, and the lock that an operation takes on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// `None` when it is not known.
    pub table: Option<TableName>,
    pub lock: Lock,
}

impl Operation {
    /// The locks on relations that the operation takes and that are known: none on a table that it
    /// makes, and none that it takes only because of what the catalog has (a foreign key to another
    /// table that goes away).
    #[must_use]
    pub fn locks(&self) -> Vec<Locked> {
        let one = |table: Option<TableName>, lock| vec![Locked { table, lock }];
        let arg = |table: &TableArg, lock| one(table.known(), lock);
        let unless = |concurrently: bool, lock| if concurrently { Lock::ShareUpdateExclusive } else { lock };
        let references = |tables: &[Option<TableName>]| {
            let lock = Lock::ShareRowExclusive;
            tables.iter().map(|table| Locked { table: table.clone(), lock }).collect::<Vec<_>>()
        };
        match &self.kind {
            OperationKind::CreateTable { table, definition, .. } => {
                let mut locks = references(&definition.references);
                locks.retain(|locked| locked.table.is_none() || locked.table != table.known());
                locks
            }
            OperationKind::AddColumn { table, definition, .. } => {
                let mut locks = arg(table, Lock::AccessExclusive);
                locks.extend(references(&definition.references));
                locks
            }
            OperationKind::AddConstraint(add) if add.kind == ConstraintKind::ForeignKey => {
                let mut locks = arg(&add.table, Lock::ShareRowExclusive);
                locks.extend(add.referent.iter().flat_map(|table| arg(table, Lock::ShareRowExclusive)));
                locks
            }
            OperationKind::AddConstraint(add) => arg(&add.table, Lock::AccessExclusive),
            OperationKind::DropTable { table, .. }
            | OperationKind::RenameTable { table, .. }
            | OperationKind::DropColumn { table, .. }
            | OperationKind::DropConstraint { table, .. }
            | OperationKind::Truncate { table }
            | OperationKind::AttachPartition { partition: table, .. } => arg(table, Lock::AccessExclusive),
            OperationKind::AlterColumn(alter) => arg(&alter.table, Lock::AccessExclusive),
            OperationKind::UseIndex { table, .. } | OperationKind::RenameConstraint { table, .. } => {
                one(Some(table.clone()), Lock::AccessExclusive)
            }
            OperationKind::CreateIndex(index) => arg(&index.table, unless(index.concurrently, Lock::Share)),
            OperationKind::DropIndex(index) => {
                arg(&index.table, unless(index.concurrently, Lock::AccessExclusive))
            }
            OperationKind::Reindex { table, concurrently, .. } => {
                one(table.as_ref().and_then(TableArg::known), unless(*concurrently, Lock::Share))
            }
            OperationKind::ValidateConstraint { table, .. } => {
                one(Some(table.clone()), Lock::ShareUpdateExclusive)
            }
            OperationKind::Update(update) => arg(&update.table, Lock::RowExclusive),
            OperationKind::SyncEnum { tables: Some(tables), .. } => {
                tables.iter().flat_map(|table| one(Some(table.clone()), Lock::AccessExclusive)).collect()
            }
            OperationKind::SyncEnum { tables: None, .. } => one(None, Lock::AccessExclusive),
            OperationKind::DetachPartition { .. }
            | OperationKind::CreateObject { .. }
            | OperationKind::DropObject { .. }
            | OperationKind::RenameObject { .. }
            | OperationKind::Harmless { .. }
            | OperationKind::Opaque { .. } => {
                let text = self.origin.sql.as_ref().map(|sql| &sql.text.value[sql.place.statement.clone()]);
                text.and_then(of_text).into_iter().collect()
            }
            // It waits no longer than half a second.
            OperationKind::ReplaceColumn { .. }
            | OperationKind::RenameIndex { .. }
            | OperationKind::AddEnumValue { .. }
            | OperationKind::EnumType { .. }
            | OperationKind::CreateDomain { .. }
            | OperationKind::Commit => Vec::new(),
        }
    }

    /// The strongest of [`Self::locks`].
    #[must_use]
    pub fn strongest_lock(&self) -> Option<Lock> {
        self.locks().into_iter().map(|locked| locked.lock).max()
    }
}

/// The lock of a single statement that is not read as anything else.
fn of_text(text: &str) -> Option<Locked> {
    let text = text.trim().trim_end_matches(';');
    // What follows may have to wait for something else.
    if text.contains(';') {
        return None;
    }
    let written: Vec<&str> = text.split_whitespace().collect();
    let words: Vec<String> = written.iter().map(|word| word.to_lowercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // The relation behind these words.
    let relation = |skipped: usize| {
        let optional = ["if", "exists", "not", "only"];
        let at = (skipped..words.len()).find(|at| !optional.contains(&words[*at]))?;
        Some(sql::qualified(written[at].split('(').next()?))
    };
    let on = || relation(words.iter().position(|word| *word == "on")? + 1);
    let mut kept =
        words.iter().filter(|word| !matches!(**word, "or" | "replace" | "constraint" | "materialized"));
    let (verb, what) = (*kept.next()?, *kept.next()?);
    let object = words.iter().position(|word| *word == what)? + 1;
    let has = |word: &str| words.contains(&word);
    let (table, lock) = match (verb, what) {
        ("alter", "table") if is_weak(&words) => (relation(2), Lock::ShareUpdateExclusive),
        ("create", "view") if !has("replace") => return None,
        ("alter", "table") | ("alter" | "drop" | "create", "view") => {
            (relation(object), Lock::AccessExclusive)
        }
        ("create", "trigger") => (on(), Lock::ShareRowExclusive),
        ("alter" | "drop", "trigger") | ("create" | "alter" | "drop", "policy" | "rule") => {
            (on(), Lock::AccessExclusive)
        }
        ("lock", _) => (relation(if what == "table" { 2 } else { 1 }), Lock::AccessExclusive),
        ("refresh" | "cluster", _) if has("concurrently") => return None,
        ("refresh", "view") => (relation(object), Lock::AccessExclusive),
        ("cluster", _) => (relation(1), Lock::AccessExclusive),
        _ => return None,
    };
    Some(Locked { table, lock })
}

/// Whether an `ALTER TABLE` stops nobody.
fn is_weak(words: &[&str]) -> bool {
    let pair = |first: &str, second: &str| {
        words.windows(2).any(|pair| pair[0] == first && pair[1].starts_with(second))
    };
    words.contains(&"concurrently")
        || [("set", "statistics"), ("set", "("), ("reset", "("), ("cluster", "on"), ("set", "without")]
            .iter()
            .any(|(first, second)| pair(first, second))
        || words.iter().any(|word| word.starts_with("set(") || word.starts_with("reset("))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(text: &str) -> Option<String> {
        of_text(text).map(|locked| {
            format!(
                "{} {}",
                locked.lock,
                locked.table.map_or_else(|| "?".to_owned(), |table| table.to_string())
            )
        })
    }

    #[test]
    fn text_that_is_read_as_nothing_else_has_its_lock() {
        for (text, expected) in [
            ("ALTER TABLE IF EXISTS ONLY \"s\".\"T\" OWNER TO x;", Some("ACCESS EXCLUSIVE s.T")),
            ("alter table t alter column a set default 0", Some("ACCESS EXCLUSIVE t")),
            ("ALTER TABLE t ALTER COLUMN a SET STATISTICS 500", Some("SHARE UPDATE EXCLUSIVE t")),
            ("ALTER TABLE t SET (fillfactor = 70)", Some("SHARE UPDATE EXCLUSIVE t")),
            ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", Some("SHARE UPDATE EXCLUSIVE t")),
            (
                "CREATE OR REPLACE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
                Some("SHARE ROW EXCLUSIVE t"),
            ),
            ("DROP TRIGGER IF EXISTS g ON s.t", Some("ACCESS EXCLUSIVE s.t")),
            ("CREATE POLICY p ON t USING (true)", Some("ACCESS EXCLUSIVE t")),
            ("DROP MATERIALIZED VIEW IF EXISTS v", Some("ACCESS EXCLUSIVE v")),
            ("CREATE OR REPLACE VIEW v AS SELECT 1", Some("ACCESS EXCLUSIVE v")),
            ("CREATE VIEW v AS SELECT 1", None),
            ("REFRESH MATERIALIZED VIEW v", Some("ACCESS EXCLUSIVE v")),
            ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", None),
            ("LOCK TABLE t", Some("ACCESS EXCLUSIVE t")),
            ("ALTER TABLE a ADD x int; UPDATE b SET c = 1", None),
            ("DO $$ BEGIN ALTER TABLE t ADD a int; END $$", None),
            ("COMMENT ON TABLE t IS 'x'", None),
            ("ALTER SEQUENCE s OWNED BY t.a", None),
            ("", None),
        ] {
            assert_eq!(locked(text).as_deref(), expected, "{text}");
        }
    }
}
