//! The names that PostgreSQL gives to constraints that have none, and SQLAlchemy to those that are too long.
//!
//! Sources: PostgreSQL's `src/backend/commands/indexcmds.c` (`makeObjectName`, `ChooseRelationName`,
//! `ChooseIndexNameAddition`) and `pg_constraint.c` (`ChooseConstraintName`).

use md5::{Digest, Md5};

pub mod convention;
pub mod listener;
pub mod metadata;
mod token;

/// `NAMEDATALEN - 1`: the bytes that a name may have.
pub const MAX_BYTES: usize = 63;

/// The beginning of the names of constraints that a rewritten migration adds and drops again.
pub const TEMPORARY: &str = "safemig_";

/// The name for a constraint on `columns` of `table`, the first one that is not `taken`.
///
/// `label` is `key` (unique), `fkey` or `check`.
#[must_use]
pub fn constraint_name(table: &str, columns: &[String], label: &str, taken: impl Fn(&str) -> bool) -> String {
    let addition = name_addition(columns);
    let mut name = object_name(table, &addition, label);
    let mut pass = 0;
    while taken(&name) {
        pass += 1;
        name = object_name(table, &addition, &format!("{label}{pass}"));
    }
    name
}

/// The columns, joined by underscores, cut after the column that reaches 63 bytes.
fn name_addition(columns: &[String]) -> String {
    let mut out = String::new();
    for column in columns {
        if !out.is_empty() {
            out.push('_');
        }
        // `strlcpy` into a buffer of 2 * NAMEDATALEN never cuts here: a column has 63 bytes at most.
        out.push_str(column);
        if out.len() > MAX_BYTES {
            break;
        }
    }
    out
}

/// `name1_name2_label`, with the longer of the two names shortened until the whole fits.
fn object_name(name1: &str, name2: &str, label: &str) -> String {
    let overhead = label.len() + 1 + usize::from(!name2.is_empty());
    let available = MAX_BYTES.saturating_sub(overhead);
    let (mut len1, mut len2) = (name1.len(), name2.len());
    while len1 + len2 > available {
        if len1 > len2 {
            len1 -= 1;
        } else {
            len2 -= 1;
        }
    }
    let mut name = clip(name1, len1).to_owned();
    if !name2.is_empty() {
        name.push('_');
        name.push_str(clip(name2, len2));
    }
    name.push('_');
    name.push_str(label);
    name
}

/// At most `len` bytes, not splitting a character (`pg_mbcliplen`).
fn clip(name: &str, mut len: usize) -> &str {
    while !name.is_char_boundary(len) {
        len -= 1;
    }
    &name[..len]
}

/// What SQLAlchemy makes of a name that is spelled `op.f(…)` and is too long for PostgreSQL. (It refuses others.)
///
/// Source: SQLAlchemy's `sql/compiler.py` (`_truncate_and_render_maxlen_name`).
#[must_use]
pub fn cut(name: &str) -> String {
    if name.len() <= MAX_BYTES || !name.is_ascii() {
        return name.to_owned();
    }
    let hash = Md5::digest(name);
    format!("{}_{:02x}{:02x}", &name[..MAX_BYTES - 8], hash[14], hash[15])
}

/// SQLAlchemy's name for the index of `sa.Column(…, index=True)`: `ix_<table>_<column>`, with the
/// schema in front of the table.
#[must_use]
pub fn column_index_name(schema: Option<&str>, table: &str, column: &str) -> String {
    cut(&match schema {
        Some(schema) => format!("ix_{schema}_{table}_{column}"),
        None => format!("ix_{table}_{column}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(table: &str, columns: &[&str], label: &str) -> String {
        let columns: Vec<_> = columns.iter().map(|column| (*column).to_owned()).collect();
        constraint_name(table, &columns, label, |_| false)
    }

    #[test]
    fn short_names_are_joined() {
        assert_eq!(name("child", &["pid"], "fkey"), "child_pid_fkey");
        assert_eq!(name("child", &["k1", "k2"], "key"), "child_k1_k2_key");
        assert_eq!(name("t", &[], "check"), "t_check");
    }

    #[test]
    fn a_taken_name_is_numbered() {
        let taken = ["t_a_fkey", "t_a_fkey1"];
        assert_eq!(constraint_name("t", &["a".to_owned()], "fkey", |n| taken.contains(&n)), "t_a_fkey2");
    }

    #[test]
    fn long_names_are_cut_as_sqlalchemy_cuts_them() {
        assert_eq!(cut("ix_t_a"), "ix_t_a");
        let long = "link_opportunity_summary_applicant_type_opportunity_summary_id_idx";
        assert_eq!(cut(long), "link_opportunity_summary_applicant_type_opportunity_sum_fee2");
    }

    #[test]
    fn long_names_are_cut_as_postgresql_cuts_them() {
        let long = "a".repeat(50);
        let column = "b".repeat(40);
        let got = name(&long, &[&column], "fkey");
        assert_eq!(got.len(), MAX_BYTES);
        assert_eq!(got, format!("{}_{}_fkey", "a".repeat(29), "b".repeat(28)));
        // Not in the middle of a character.
        let umlauts = "ü".repeat(31);
        assert!(name(&umlauts, &[&column], "key").len() <= MAX_BYTES);
    }
}
