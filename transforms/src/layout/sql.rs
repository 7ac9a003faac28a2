//! Edits inside of SQL text: what a [`Change`] means there.
//!
//! A change is said in Alembic's words (`postgresql_concurrently`, `if_exists`); here they become SQL, in
//! the case that the author writes it in. Text that says several things is cut first, so that what moves
//! stands alone.

use std::ops::Range;

use squawk_syntax::ast::{self, AlterTableAction, AlterTypeAction, AstNode, Stmt};
use squawk_syntax::{SyntaxKind, SyntaxToken};

use super::call::quoted;
use crate::operations::SqlOrigin;
use crate::operations::sql::{self, Place, extent};
use crate::python::edit::Edit;
use crate::python::text::Text;
use crate::recipe::Change;

const ELSEWHERE: &str = "its text is put together from parts that stand elsewhere: write it as one literal";
const UNREAD: &str = "its SQL was not found again";

/// The edits that a change makes inside of the text of one operation.
///
/// # Errors
/// Why the text can't be edited.
pub(super) fn edits(origin: &SqlOrigin, change: &Change, source: &str) -> Result<Vec<Edit>, String> {
    let SqlOrigin { text, place } = origin;
    let (statement, action) = sql::find(text, place).ok_or(UNREAD)?;
    let writer = Writer { text, place, source };
    if change.column.is_some() {
        return Err("its SQL can't be taken apart yet".to_owned());
    }
    let given = |keyword: &str| change.set.iter().any(|(name, value)| *name == keyword && *value == "True");
    let (concurrently, not_valid) = (given("postgresql_concurrently"), given("postgresql_not_valid"));
    let (create, drop) = (given("if_not_exists"), given("if_exists"));
    match (&statement, &action) {
        (Stmt::CreateIndex(index), _) => writer.after(
            index.concurrently_token().or(index.index_token()),
            &[
                (concurrently && index.concurrently_token().is_none(), "CONCURRENTLY"),
                (create && index.if_not_exists().is_none(), "IF NOT EXISTS"),
            ],
        ),
        (Stmt::DropIndex(index), _) => writer.after(
            index.concurrently_token().or(index.index_token()),
            &[
                (concurrently && index.concurrently_token().is_none(), "CONCURRENTLY"),
                (drop && index.if_exists().is_none(), "IF EXISTS"),
            ],
        ),
        (Stmt::Reindex(reindex), _) => {
            let mut tokens =
                reindex.syntax().descendants_with_tokens().filter_map(|element| element.as_token().cloned());
            let target =
                tokens.find(|token| matches!(token.kind(), SyntaxKind::INDEX_KW | SyntaxKind::TABLE_KW));
            writer.after(target, &[(concurrently, "CONCURRENTLY")])
        }
        (Stmt::CreateTable(table), _) => writer.after(table.table_token(), &[(create, "IF NOT EXISTS")]),
        (Stmt::DropTable(table), _) => writer.after(table.table_token(), &[(drop, "IF EXISTS")]),
        (Stmt::AlterType(alter), _) => match alter.action() {
            Some(AlterTypeAction::AddValue(add)) => {
                writer.after(add.value_token(), &[(create, "IF NOT EXISTS")])
            }
            _ => Err(UNREAD.to_owned()),
        },
        (_, Some(AlterTableAction::AddColumn(add))) => {
            writer.after(add.column_token().or(add.add_token()), &[(create, "IF NOT EXISTS")])
        }
        (_, Some(AlterTableAction::DropColumn(column))) => {
            writer.after(column.column_token().or(column.drop_token()), &[(drop, "IF EXISTS")])
        }
        (_, Some(AlterTableAction::DropConstraint(constraint))) => {
            writer.after(constraint.constraint_token(), &[(drop, "IF EXISTS")])
        }
        (Stmt::AlterTable(alter), Some(AlterTableAction::AddConstraint(add))) => {
            let constraint = add.constraint().ok_or(UNREAD)?;
            if change.method.is_some() {
                return writer.index(alter, &constraint, change, create);
            }
            let mut edits = Vec::new();
            let range = extent(constraint.syntax());
            if let Some(name) = &change.name {
                let new = format!("{} {} ", writer.word("CONSTRAINT"), quoted(name));
                edits.push(text.insert(range.start, &new).ok_or(ELSEWHERE)?);
            }
            if not_valid {
                let new = format!(" {}", writer.word("NOT VALID"));
                edits.push(text.insert(range.end, &new).ok_or(ELSEWHERE)?);
            }
            Ok(edits)
        }
        (statement, _) if drop => {
            // `DROP VIEW v`, `DROP MATERIALIZED VIEW v`.
            let kind = statement
                .syntax()
                .children_with_tokens()
                .take_while(|element| element.as_node().is_none())
                .filter_map(|element| element.as_token().cloned())
                .filter(|token| !matches!(token.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT))
                .last();
            writer.after(kind, &[(true, "IF EXISTS")])
        }
        _ if change.set.is_empty() && change.method.is_none() => Ok(Vec::new()),
        _ => Err(UNREAD.to_owned()),
    }
}

/// Writes into one text.
struct Writer<'a> {
    text: &'a Text,
    place: &'a Place,
    source: &'a str,
}

impl Writer<'_> {
    /// A keyword in the case that the author writes keywords in.
    fn word(&self, word: &str) -> String {
        let lower =
            self.text.value[self.place.statement.clone()].starts_with(|c: char| c.is_ascii_lowercase());
        if lower { word.to_lowercase() } else { word.to_owned() }
    }

    /// Put the words that are wanted behind a token.
    fn after(&self, token: Option<SyntaxToken>, words: &[(bool, &str)]) -> Result<Vec<Edit>, String> {
        let words = words
            .iter()
            .filter(|(wanted, _)| *wanted)
            .fold(String::new(), |all, (_, word)| all + " " + &self.word(word));
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let end = usize::from(token.ok_or(UNREAD)?.text_range().end());
        Ok(vec![self.text.insert(end, &words).ok_or(ELSEWHERE)?])
    }

    /// `ALTER TABLE t ADD CONSTRAINT u UNIQUE (a)` → `CREATE UNIQUE INDEX CONCURRENTLY u ON t (a)`.
    fn index(
        &self,
        alter: &ast::AlterTable,
        constraint: &ast::Constraint,
        change: &Change,
        create: bool,
    ) -> Result<Vec<Edit>, String> {
        let parameters = constraint.syntax().children().find_map(ast::IndexParameters::cast).ok_or(UNREAD)?;
        if parameters.with_params().is_some() || parameters.constraint_index_tablespace().is_some() {
            return Err("it says how its index is stored".to_owned());
        }
        let columns = parameters.column_list().ok_or(UNREAD)?;
        let table = alter.table_relation_name().and_then(|name| name.table_name_ref()).ok_or(UNREAD)?;
        let spelled = |range: Range<usize>| self.text.spelled(range, self.source).ok_or(ELSEWHERE);
        let given = constraint.syntax().children().find_map(ast::ConstraintNameClause::cast);
        let name = match (given.and_then(|clause| clause.constraint_name()), &change.name) {
            (Some(name), _) => spelled(extent(name.syntax()))?.to_owned(),
            (None, Some(chosen)) => quoted(chosen),
            (None, None) => return Err("it has no name".to_owned()),
        };
        let words = if create {
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS"
        } else {
            "CREATE UNIQUE INDEX CONCURRENTLY"
        };
        let on = self.word("ON");
        let head = format!("{} {name} {on} {} ", self.word(words), spelled(extent(table.syntax()))?);
        let columns = extent(columns.syntax());
        let end = parameters
            .constraint_include_clause()
            .map_or(columns.end, |include| extent(include.syntax()).end);
        let nulls = parameters
            .nulls_distinct_option()
            .map(|option| extent(option.syntax()))
            .map(|range| Ok::<_, &str>(format!(" {}", spelled(range)?)))
            .transpose()?
            .unwrap_or_default();
        let start = self.place.statement.start;
        let mut edits = self.text.replace(start..columns.start, &head).ok_or(ELSEWHERE)?;
        if end < self.place.statement.end {
            edits.extend(self.text.replace(end..self.place.statement.end, &nulls).ok_or(ELSEWHERE)?);
        } else if !nulls.is_empty() {
            edits.push(self.text.insert(end, &nulls).ok_or(ELSEWHERE)?);
        }
        Ok(edits)
    }
}

/// Why several statements stay in one text.
pub(super) const TOGETHER: &str = "it shares its text with other statements, and that can't be cut";

/// Cut text of several statements of SQL into several texts, so that each of `wanted` stands alone. `frame` goes around
/// each of them.
///
/// # Errors
/// Why that can't be done.
pub(super) fn split(
    text: &Text,
    wanted: &[&Place],
    (before, behind): &(String, String),
    source: &str,
) -> Result<Vec<String>, String> {
    if !text.divisible {
        return Err(TOGETHER.to_owned());
    }
    let segments = segments(&text.value);
    let mut groups: Vec<(Range<usize>, bool)> = Vec::new();
    for segment in &segments {
        let alone = wanted.iter().any(|place| segment.contains(&place.statement.start));
        match groups.last_mut() {
            Some((group, false)) if !alone => group.end = segment.end,
            _ => groups.push((segment.clone(), alone)),
        }
    }
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        return Err(TOGETHER.to_owned());
    };
    let edges = (&text.value[..first.start], &text.value[last.end..]);
    let mut expressions = Vec::new();
    for (group, alone) in groups {
        let place = wanted.iter().find(|place| group.contains(&place.statement.start));
        match place.filter(|place| alone && place.actions > 1) {
            Some(place) => expressions.extend(actions(text, place, wanted, edges, source)?),
            None => expressions.push(text.cut(group, edges, source).ok_or(TOGETHER)?),
        }
    }
    Ok(expressions.iter().map(|expression| format!("{before}{expression}{behind}")).collect())
}

/// `ALTER TABLE t a, b, c` as several statements. PostgreSQL does not run the actions in the order of the
/// text; see `AlterTablePass` in `src/backend/commands/tablecmds.c`.
fn actions(
    text: &Text,
    place: &Place,
    wanted: &[&Place],
    edges: (&str, &str),
    source: &str,
) -> Result<Vec<String>, String> {
    const TOGETHER: &str = "it is one of several actions of a statement that can't be cut";
    let mut items = sql::items(text, place);
    let Some(first) = items.first().map(|item| item.range.start) else { return Err(TOGETHER.to_owned()) };
    let last = items.iter().map(|item| item.range.end).max().unwrap_or(first);
    // `DROP INDEX a, b CASCADE`.
    if last < place.statement.end {
        return Err(TOGETHER.to_owned());
    }
    let head = place.statement.start..first;
    // Lists keep their layout.
    let separator = match &items[..] {
        [one, two, ..] => &text.value[one.range.end..two.range.start],
        _ => ",",
    };
    let separator = if separator.trim() == "," { separator } else { ", " };
    items.sort_by_key(|item| item.pass);
    let mut groups: Vec<(Vec<Range<usize>>, bool)> = Vec::new();
    for item in items {
        let alone = wanted.iter().any(|place| place.action == item.range);
        match groups.last_mut() {
            Some((group, false)) if !alone => group.push(item.range),
            _ => groups.push((vec![item.range], alone)),
        }
    }
    groups
        .into_iter()
        .map(|(items, _)| {
            text.compose(&head, &items, separator, edges, source).ok_or_else(|| TOGETHER.to_owned())
        })
        .collect()
}

/// The statements of a script with the comments above them and behind them, their semicolons included.
fn segments(script: &str) -> Vec<Range<usize>> {
    let mut segments: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for statement in sql::statements(script) {
        let end = statement.as_ptr() as usize - script.as_ptr() as usize + statement.len();
        let line = script[end..].find('\n').map_or(script.len(), |newline| end + newline);
        let comment = script[end..line].trim();
        let end = if comment.starts_with("--") { end + script[end..line].trim_end().len() } else { end };
        let start = at + (script[at..].len() - script[at..].trim_start().len());
        segments.push(start..end);
        at = end;
    }
    if let Some(last) = segments.last_mut() {
        last.end = script.trim_end().len().max(last.end);
    }
    segments
}
