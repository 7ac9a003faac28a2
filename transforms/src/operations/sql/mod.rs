//! SQL text as operations, read by a PostgreSQL parser.
//!
//! The same [`OperationKind`]s as for calls, each with the [`Place`] of the text that it came from: rules
//! never see the difference, and `layout` edits the author's own text.

mod tables;

use std::ops::Range;

use squawk_syntax::ast::{
    self, AlterIndexAction, AlterTableAction, AlterTypeAction, AstNode, DropBehavior, ReindexTarget, Stmt,
};
use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode};

use super::{CreateIndex, DropIndex, IndexOptions, Object, OperationKind, TableArg, TableName, update};
use crate::python::text::Text;
use crate::python::value::{Arg, Value};

/// An operation, and where in the text it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    pub(crate) kind: OperationKind,
    pub(crate) place: Place,
}

/// Where an operation stands in SQL text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The statement, without white space around it and without its semicolon.
    pub statement: Range<usize>,
    /// How many statements the text has.
    pub statements: usize,
    /// The action of an `ALTER TABLE`; for others the whole statement.
    pub action: Range<usize>,
    /// How many operations the statement is.
    pub actions: usize,
}

/// Why text is opaque that is no PostgreSQL, as far as the parser knows.
pub(crate) const UNPARSED: &str = "SQL text that could not be parsed";

/// The statements of a script, without what stands between them.
#[must_use]
pub fn statements(script: &str) -> Vec<&str> {
    let parse = SourceFile::parse(script);
    let mut found = Vec::new();
    let mut start: Option<usize> = None;
    for element in parse.tree().syntax().descendants_with_tokens() {
        let Some(token) = element.into_token() else { continue };
        let range = token.text_range();
        match token.kind() {
            SyntaxKind::WHITESPACE | SyntaxKind::COMMENT => {}
            SyntaxKind::SEMICOLON => {
                found.extend(start.take().map(|start| &script[start..usize::from(range.end())]));
            }
            _ if start.is_none() => start = Some(range.start().into()),
            _ => {}
        }
    }
    found.extend(start.map(|start| script[start..].trim_end()));
    found
}

/// Read every statement of a text. `source` is the file that it stands in.
pub(crate) fn read(text: &Text, source: &str) -> Vec<Part> {
    let reader = Reader { text, source };
    let masked = mask(text);
    let parse = SourceFile::parse(&masked);
    let all: Vec<Stmt> =
        parse.tree().stmts().filter(|statement| !matches!(statement, Stmt::EmptyStmt(_))).collect();
    let whole = |kind: OperationKind| {
        let range = 0..text.value.len();
        let place = Place { statement: range.clone(), statements: 1, action: range, actions: 1 };
        vec![Part { kind, place }]
    };
    // The parser always makes a tree; where it found errors, the tree can be wrong.
    if !parse.errors().is_empty() && is_schema_change(&masked) {
        return match &all[..] {
            [Stmt::Commit(_), ..] => whole(OperationKind::Commit),
            _ => whole(OperationKind::Opaque { reason: UNPARSED.to_owned(), sql: Some(text.value.clone()) }),
        };
    }
    let sound = parse.errors().is_empty();
    let mut parts = Vec::new();
    for statement in &all {
        let range = extent(statement.syntax());
        let mut kinds: Vec<(OperationKind, Range<usize>)> = Vec::new();
        match statement {
            Stmt::Update(update) if sound => {
                let kind = update::read(update, &text.value).map(OperationKind::Update);
                kinds.push((kind.unwrap_or_else(|| reader.harmless(&range)), range.clone()));
            }
            _ => reader.statement(statement, &range, &mut kinds),
        }
        let actions = kinds.len();
        parts.extend(kinds.into_iter().map(|(kind, action)| Part {
            kind,
            place: Place { statement: range.clone(), statements: all.len(), action, actions },
        }));
    }
    if parts.is_empty() {
        let kind =
            if is_schema_change(&masked) { reader.unread() } else { reader.harmless(&(0..text.value.len())) };
        return whole(kind);
    }
    parts
}

/// The statement at a place, and its action if it is an `ALTER TABLE`.
pub(crate) fn find(text: &Text, place: &Place) -> Option<(Stmt, Option<AlterTableAction>)> {
    let statement = SourceFile::parse(&mask(text))
        .tree()
        .stmts()
        .find(|stmt| extent(stmt.syntax()) == place.statement)?;
    let action = match &statement {
        Stmt::AlterTable(alter) => alter.actions().find(|action| extent(action.syntax()) == place.action),
        _ => None,
    };
    Some((statement, action))
}

/// One of several things that one statement does.
pub(crate) struct Item {
    pub(crate) range: Range<usize>,
    /// In which order PostgreSQL does them.
    pub(crate) pass: u8,
}

/// The actions of the `ALTER TABLE` at a place, or the indexes of its `DROP INDEX`.
pub(crate) fn items(text: &Text, place: &Place) -> Vec<Item> {
    match find(text, place) {
        Some((Stmt::AlterTable(alter), _)) => alter
            .actions()
            .map(|action| Item { range: extent(action.syntax()), pass: pass(&action) })
            .collect(),
        Some((Stmt::DropIndex(drop), _)) => {
            drop.index_refs().map(|index| Item { range: extent(index.syntax()), pass: 0 }).collect()
        }
        _ => Vec::new(),
    }
}

/// Source: `AlterTablePass` of PostgreSQL's `src/backend/commands/tablecmds.c`.
fn pass(action: &AlterTableAction) -> u8 {
    match action {
        AlterTableAction::DropColumn(_) | AlterTableAction::DropConstraint(_) => 0,
        AlterTableAction::AlterColumn(alter) => match alter.option() {
            Some(ast::AlterColumnOption::DropNotNull(_)) => 0,
            Some(ast::AlterColumnOption::SetType(_)) => 1,
            _ => 3,
        },
        AlterTableAction::AddColumn(_) => 2,
        AlterTableAction::AddConstraint(add) => match add.constraint() {
            Some(ast::Constraint::ForeignKeyConstraint(_) | ast::Constraint::CheckConstraint(_)) => 5,
            _ => 4,
        },
        _ => 6,
    }
}

/// The range of a node, without white space, comments and semicolons at its ends.
pub(crate) fn extent(node: &SyntaxNode) -> Range<usize> {
    let mut tokens = node.descendants_with_tokens().filter_map(|element| {
        let token = element.into_token()?;
        let counts =
            !matches!(token.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT | SyntaxKind::SEMICOLON);
        counts.then(|| token.text_range())
    });
    let Some(first) = tokens.next() else {
        let start = usize::from(node.text_range().start());
        return start..start;
    };
    let last = tokens.last().unwrap_or(first);
    first.start().into()..last.end().into()
}

/// Words that begin (or, in a `DO` block, may be) a change of the schema.
fn is_schema_change(sql: &str) -> bool {
    const VERBS: &[&str] =
        &["create", "alter", "drop", "do", "call", "rename", "truncate", "reindex", "cluster"];
    sql.split(|c: char| !c.is_ascii_alphabetic())
        .any(|word| VERBS.iter().any(|verb| word.eq_ignore_ascii_case(verb)))
}

/// What is no PostgreSQL, as names of equal length, so that offsets stay: `:name` → `_name`, `%s` → `_s`,
/// `{prefix}` → `_prefix_`.
fn mask(text: &Text) -> String {
    let mut symbols = text.symbols().peekable();
    let mut out = String::with_capacity(text.value.len());
    let mut previous = ' ';
    let mut chars = text.value.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        while symbols.peek().is_some_and(|symbol| symbol.end <= at) {
            symbols.next();
        }
        let next = chars.peek().map_or(' ', |(_, next)| *next);
        let parameter = (c == ':' && previous != ':' && (next.is_ascii_alphabetic() || next == '_'))
            || (c == '%' && (next == 's' || next == '('));
        if symbols.peek().is_some_and(|symbol| symbol.contains(&at)) && !c.is_alphanumeric() {
            (0..c.len_utf8()).for_each(|_| out.push('_'));
        } else {
            out.push(if parameter { '_' } else { c });
        }
        previous = c;
    }
    out
}

/// Reads nodes of one text.
struct Reader<'a> {
    text: &'a Text,
    source: &'a str,
}

/// An operation and the range of what says it.
type Found = (OperationKind, Range<usize>);

impl Reader<'_> {
    /// The author's text of a node.
    fn of(&self, node: &impl AstNode) -> &str {
        &self.text.value[extent(node.syntax())]
    }

    fn unread(&self) -> OperationKind {
        OperationKind::Opaque { reason: "SQL text".to_owned(), sql: Some(self.text.value.clone()) }
    }

    fn harmless(&self, range: &Range<usize>) -> OperationKind {
        OperationKind::Harmless { sql: Some(self.text.value[range.clone()].to_owned()) }
    }

    fn opaque(&self, range: &Range<usize>) -> OperationKind {
        let sql = Some(self.text.value[range.clone()].to_owned());
        OperationKind::Opaque { reason: "SQL text".to_owned(), sql }
    }

    fn statement(&self, statement: &Stmt, range: &Range<usize>, kinds: &mut Vec<Found>) {
        let unread = || self.opaque(range);
        let kind = match statement {
            Stmt::Commit(_) => OperationKind::Commit,
            Stmt::CreateTable(create) => self.create_table(create).unwrap_or_else(unread),
            Stmt::CreateTableAs(create) => match create.table_name() {
                Some(name) => OperationKind::CreateTable {
                    table: self.table_arg(&name),
                    definition: super::Definition { incomplete: true, ..super::Definition::default() },
                    if_not_exists: create.if_not_exists().is_some(),
                },
                None => unread(),
            },
            Stmt::DropTable(drop) => {
                kinds.extend(drop.table_name_refs().map(|name| {
                    let table = self.table_arg(&name);
                    let if_exists = drop.if_exists().is_some();
                    (OperationKind::DropTable { table, if_exists }, extent(name.syntax()))
                }));
                return;
            }
            Stmt::CreateIndex(create) => self.create_index(create).unwrap_or_else(unread),
            Stmt::DropIndex(drop) => {
                kinds.extend(drop.index_refs().map(|index| {
                    let (schema, name) = self.path(&index);
                    let drop = DropIndex {
                        name,
                        table: TableArg { name: Arg::absent(), schema },
                        concurrently: drop.concurrently_token().is_some(),
                        if_exists: drop.if_exists().is_some(),
                        cascade: matches!(drop.drop_behavior(), Some(DropBehavior::Cascade(_))),
                    };
                    (OperationKind::DropIndex(drop), extent(index.syntax()))
                }));
                return;
            }
            Stmt::Reindex(reindex) => self.reindex(reindex).unwrap_or_else(unread),
            Stmt::AlterIndex(alter) => match (alter.index_ref(), alter.action()) {
                (Some(index), Some(AlterIndexAction::IndexRenameTo(to))) => {
                    let index = self.qualified(&index);
                    match to.syntax().children().last() {
                        Some(new) => OperationKind::RenameIndex {
                            schema: index.schema,
                            old: index.name,
                            new: identifier(&self.text.value[extent(&new)]),
                        },
                        None => unread(),
                    }
                }
                _ => self.harmless(range),
            },
            Stmt::AlterTable(alter) => {
                let Some(name) = alter.table_relation_name().and_then(|name| name.table_name_ref()) else {
                    kinds.push((unread(), range.clone()));
                    return;
                };
                let table = self.table_arg(&name);
                kinds.extend(alter.actions().map(|action| {
                    let place = extent(action.syntax());
                    (self.alter_table(&table, &action).unwrap_or_else(unread), place)
                }));
                if kinds.is_empty() {
                    kinds.push((unread(), range.clone()));
                }
                return;
            }
            Stmt::CreateDomain(create) => match create.domain() {
                Some(domain) => OperationKind::CreateDomain {
                    domain: self.qualified(&domain),
                    constrained: create.domain_qualifiers().any(|qualifier| {
                        let words = update::words(self.of(&qualifier));
                        words.iter().any(|word| matches!(word.as_str(), "check" | "not"))
                    }),
                },
                None => unread(),
            },
            Stmt::AlterType(alter) => self.alter_type(alter, range).unwrap_or_else(unread),
            Stmt::Truncate(truncate) => {
                let tables: Option<Vec<_>> = truncate
                    .table_list()
                    .map(|list| list.table_relation_names().map(|name| name.table_name_ref()).collect())
                    .unwrap_or_default();
                match tables {
                    Some(tables) if !tables.is_empty() => {
                        kinds.extend(tables.iter().map(|name| {
                            (OperationKind::Truncate { table: self.table_arg(name) }, extent(name.syntax()))
                        }));
                        return;
                    }
                    _ => unread(),
                }
            }
            _ => self.object(statement, range),
        };
        kinds.push((kind, range.clone()));
    }

    /// What is neither a table nor an index: views, types, functions and so on, and rows.
    fn object(&self, statement: &Stmt, range: &Range<usize>) -> OperationKind {
        let words: Vec<String> = self.text.value[range.clone()]
            .split_whitespace()
            .take(5)
            .map(|word| word.trim_end_matches(['(', ';']).to_uppercase())
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let has = |kind: SyntaxKind| statement.syntax().children().any(|child| child.kind() == kind);
        let name = || {
            let child = |node: &SyntaxNode| {
                !matches!(
                    node.kind(),
                    SyntaxKind::OR_REPLACE | SyntaxKind::IF_NOT_EXISTS | SyntaxKind::IF_EXISTS
                )
            };
            let node = statement.syntax().children().find(child);
            node.map(|node| qualified(&self.text.value[extent(&node)]))
        };
        let cascades = statement
            .syntax()
            .descendants_with_tokens()
            .any(|element| element.kind() == SyntaxKind::CASCADE_KW);
        match words[..] {
            ["CREATE", "OR", "REPLACE", kind, ..] => {
                OperationKind::CreateObject { object: Object::of(kind), name: name(), again: true }
            }
            ["CREATE", "MATERIALIZED", ..] => OperationKind::CreateObject {
                object: Object::MaterializedView,
                name: name(),
                again: has(SyntaxKind::IF_NOT_EXISTS),
            },
            ["CREATE", kind, ..] if Object::of(kind) != Object::Other => OperationKind::CreateObject {
                object: Object::of(kind),
                name: name(),
                again: has(SyntaxKind::IF_NOT_EXISTS),
            },
            // It takes columns of the type, and tables of the schema, with it.
            ["DROP", kind, ..]
                if cascades && matches!(Object::of(kind), Object::Type | Object::Schema | Object::Other) =>
            {
                self.opaque(range)
            }
            ["DROP", "MATERIALIZED", ..] => OperationKind::DropObject {
                object: Object::MaterializedView,
                name: name(),
                if_exists: has(SyntaxKind::IF_EXISTS),
            },
            ["DROP", kind, ..] if Object::of(kind) != Object::Other => OperationKind::DropObject {
                object: Object::of(kind),
                name: name(),
                if_exists: has(SyntaxKind::IF_EXISTS),
            },
            [
                "ALTER",
                "MATERIALIZED" | "VIEW" | "FUNCTION" | "PROCEDURE" | "SEQUENCE" | "TRIGGER" | "POLICY",
                ..,
            ] => {
                let renames = statement
                    .syntax()
                    .descendants_with_tokens()
                    .any(|element| element.kind() == SyntaxKind::RENAME_KW);
                if renames { OperationKind::RenameObject { type_: None } } else { self.harmless(range) }
            }
            ["CREATE" | "ALTER" | "DROP" | "DO" | "CALL" | "REINDEX" | "CLUSTER", ..] => self.opaque(range),
            _ => self.harmless(range),
        }
    }

    fn create_index(&self, create: &ast::CreateIndex) -> Option<OperationKind> {
        let table = create.table_relation_name()?;
        let elements = create.partition_item_list()?.partition_items().map(|item| self.element(&item));
        let only = table.only_token().is_some();
        Some(OperationKind::CreateIndex(CreateIndex {
            name: create.index().map_or_else(Arg::absent, |index| self.path(&index).1),
            table: self.table_arg(&table.table_name_ref()?),
            elements: Some(elements.collect()),
            unique: create.unique_token().is_some(),
            options: self.index_options(create),
            concurrently: create.concurrently_token().is_some(),
            if_not_exists: create.if_not_exists().is_some(),
            only,
            definition: self.definition_of(create),
        }))
    }

    fn index_options(&self, create: &ast::CreateIndex) -> IndexOptions {
        let text = |node: &SyntaxNode| &self.text.value[extent(node)];
        let include = create.index_include_clause().and_then(|clause| clause.syntax().children().last());
        let include =
            include.map(|list| text(&list).trim_matches(['(', ')']).split(',').map(identifier).collect());
        let method = create.using_method().and_then(|using| using.access_method_ref());
        let nulls = create.nulls_distinct_option();
        IndexOptions {
            method: method.map(|method| identifier(text(method.syntax()))),
            predicate: create
                .where_clause()
                .map(|clause| clause.expr().map(|condition| text(condition.syntax()).to_owned())),
            include: include.unwrap_or_default(),
            operator_classes: Vec::new(),
            nulls_not_distinct: nulls
                .is_some_and(|option| text(option.syntax()).to_lowercase().contains("not")),
            stored: create.with_params().is_some() || create.tablespace_clause().is_some(),
            unclear: !self.text.known,
        }
    }

    /// What follows the table's name.
    fn definition_of(&self, create: &ast::CreateIndex) -> Option<String> {
        let table = extent(create.table_relation_name()?.syntax()).end;
        let text = &self.text.value[table..extent(create.syntax()).end];
        self.text.known.then(|| text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn reindex(&self, reindex: &ast::Reindex) -> Option<OperationKind> {
        // `REINDEX INDEX CONCURRENTLY x`, `REINDEX (CONCURRENTLY) INDEX x`.
        let concurrently = reindex
            .syntax()
            .descendants_with_tokens()
            .any(|element| element.kind() == SyntaxKind::CONCURRENTLY_KW);
        match reindex.reindex_target()? {
            ReindexTarget::ReindexTargetIndex(target) => {
                let (schema, name) = self.path_of(&target.syntax().children().last()?);
                Some(OperationKind::Reindex { index: Some((schema, name)), table: None, concurrently })
            }
            ReindexTarget::ReindexTargetTable(target) => {
                let (schema, name) = self.path_of(&target.syntax().children().last()?);
                let table = Some(TableArg { name, schema });
                Some(OperationKind::Reindex { index: None, table, concurrently })
            }
            _ => Some(OperationKind::Reindex { index: None, table: None, concurrently }),
        }
    }

    /// `ALTER TYPE … ADD VALUE`, and what does not touch tables.
    fn alter_type(&self, alter: &ast::AlterType, range: &Range<usize>) -> Option<OperationKind> {
        match alter.action()? {
            AlterTypeAction::AddValue(add) => {
                let literal = self.of(&add.literal()?);
                let value = literal.trim().strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'");
                Some(OperationKind::AddEnumValue {
                    type_: self.qualified(&alter.type_name_ref()?),
                    value,
                    if_not_exists: add.if_not_exists().is_some(),
                })
            }
            AlterTypeAction::TypeRenameTo(rename) => {
                let names = alter.type_name_ref().zip(rename.type_name());
                let type_ = names.map(|(old, new)| (self.qualified(&old), identifier(self.of(&new))));
                Some(OperationKind::RenameObject { type_ })
            }
            _ if self.text.value[range.clone()].to_uppercase().contains("RENAME") => {
                Some(OperationKind::RenameObject { type_: None })
            }
            _ => None,
        }
    }

    /// The schema and the name of a node, as arguments of an operation.
    fn path(&self, node: &impl AstNode) -> (Arg, Arg) {
        self.path_of(node.syntax())
    }

    fn path_of(&self, node: &SyntaxNode) -> (Arg, Arg) {
        let whole = extent(node);
        let text = &self.text.value[whole.clone()];
        let dot = last_dot(text);
        let name = match dot {
            Some(dot) => self.arg(whole.start + dot + 1..whole.end),
            None => self.arg(whole.clone()),
        };
        let schema = dot.map_or_else(Arg::absent, |dot| {
            let start = last_dot(&text[..dot]).map_or(0, |dot| dot + 1);
            self.arg(whole.start + start..whole.start + dot)
        });
        (schema, name)
    }

    fn table_arg(&self, node: &impl AstNode) -> TableArg {
        let (schema, name) = self.path(node);
        TableArg { name, schema }
    }

    /// An identifier as an argument. Where its text comes from a field of an f-string, the argument can be
    /// spelled with that field elsewhere.
    fn arg(&self, range: Range<usize>) -> Arg {
        let text = self.text.value[range.clone()].trim();
        let unknown = self.text.symbols().any(|symbol| symbol.start < range.end && range.start < symbol.end);
        let quoted = text.starts_with('"') && text.ends_with('"') && text.len() > 1;
        let name = if unknown { text.trim_matches('"').to_owned() } else { identifier(text) };
        let put_in = self.text.is_put_in(&range);
        let code = put_in
            .then(|| {
                let inner = if quoted { range.start + 1..range.end - 1 } else { range.clone() };
                // Quoted, it would no longer be folded to lower case.
                let same = self.text.value[inner.clone()] == name;
                same.then(|| self.text.expression(inner, self.source)).flatten()
            })
            .flatten();
        let value = if unknown { Value::Partial(name) } else { Value::Str(name) };
        Arg { value, range: None, literal: !put_in, exact: true, code }
    }

    fn qualified(&self, node: &impl AstNode) -> TableName {
        qualified(self.of(node))
    }
}

impl Object {
    fn of(word: &str) -> Self {
        match word {
            "VIEW" => Self::View,
            "TYPE" | "DOMAIN" => Self::Type,
            "SCHEMA" => Self::Schema,
            "SEQUENCE" | "FUNCTION" | "PROCEDURE" | "TRIGGER" | "EXTENSION" | "POLICY" | "AGGREGATE"
            | "COLLATION" | "PUBLICATION" | "STATISTICS" | "OPERATOR" | "CAST" | "ROLE" | "USER" => {
                Self::Routine
            }
            _ => Self::Other,
        }
    }
}

/// `schema.name`, folded as PostgreSQL folds identifiers.
pub(super) fn qualified(text: &str) -> TableName {
    let text = text.trim();
    let dot = last_dot(text);
    let schema = dot.map(|dot| {
        let start = last_dot(&text[..dot]).map_or(0, |dot| dot + 1);
        identifier(&text[start..dot])
    });
    TableName::new(schema.as_deref(), &identifier(&text[dot.map_or(0, |dot| dot + 1)..]))
}

/// The last `.` outside of double quotes.
fn last_dot(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut found = None;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => found = Some(at),
            _ => {}
        }
    }
    found
}

/// An identifier as PostgreSQL stores it: unquoted ones are folded to lower case.
pub(crate) fn identifier(text: &str) -> String {
    let text = text.trim();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_lowercase(),
    }
}

pub(super) fn known(table: &TableName) -> TableArg {
    let arg = |name: &str| Arg { exact: true, ..Arg::of(name) };
    TableArg { name: arg(&table.name), schema: table.schema.as_deref().map_or_else(Arg::absent, arg) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> Vec<OperationKind> {
        super::read(&Text::plain(sql), sql).into_iter().map(|part| part.kind).collect()
    }

    #[test]
    fn statements_are_read_as_operations() {
        let kinds = read(
            "CREATE TABLE \"A\".b (id int PRIMARY KEY); \
             CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ix ON s.t (a); \
             ALTER TABLE t VALIDATE CONSTRAINT fk; DROP INDEX ix, iy; COMMIT",
        );
        assert_eq!(kinds.len(), 6, "{kinds:#?}");
        assert!(matches!(&kinds[0], OperationKind::CreateTable { table, .. }
                if table.known() == Some(TableName::new(Some("A"), "b"))));
        assert!(matches!(&kinds[1], OperationKind::CreateIndex(index)
                if index.unique && index.concurrently && index.name.as_str() == Some("ix")));
        assert!(matches!(&kinds[2], OperationKind::ValidateConstraint { name, .. } if name == "fk"));
        assert_eq!(kinds[5], OperationKind::Commit);
    }

    #[test]
    fn rows_are_harmless_and_the_rest_is_opaque() {
        assert!(matches!(&read("DELETE FROM t WHERE a = :a")[..], [OperationKind::Harmless { .. }]));
        assert!(matches!(&read("UPDATE t SET a = :a")[..], [OperationKind::Update(_)]));
        assert!(matches!(
            &read("DO $$ BEGIN ALTER TABLE t ADD a int; END $$")[..],
            [OperationKind::Opaque { .. }]
        ));
        assert!(matches!(&read("create !! nonsense")[..], [OperationKind::Opaque { .. }]));
    }

    #[test]
    fn columns_carry_what_fills_them() {
        let read = |sql: &str| match read(sql).pop() {
            Some(OperationKind::AddColumn { definition, .. }) => {
                definition.columns.into_iter().next().expect("a column")
            }
            other => panic!("{other:?}"),
        };
        let column = read("ALTER TABLE t ADD a json NOT NULL");
        assert_eq!(
            (column.type_.as_deref(), column.nullable, column.server_default),
            (Some("json"), false, None)
        );
        let column = read("ALTER TABLE t ADD a int DEFAULT 1 + 1 NOT NULL");
        assert_eq!((column.nullable, column.server_default), (false, Some(Some("1 + 1".to_owned()))));
        for filled in ["bigserial", "int GENERATED ALWAYS AS IDENTITY", "int GENERATED ALWAYS AS (b) STORED"]
        {
            assert_eq!(read(&format!("ALTER TABLE t ADD a {filled} NOT NULL")).server_default, Some(None));
        }
    }

    #[test]
    fn enum_values_and_truncated_tables_are_read() {
        let kinds =
            read("ALTER TYPE s.e ADD VALUE IF NOT EXISTS 'it''s' AFTER 'b'; TRUNCATE ONLY a, \"B\".c *");
        assert!(
            matches!(&kinds[..], [
                OperationKind::AddEnumValue { type_, value, if_not_exists: true },
                OperationKind::Truncate { table: a },
                OperationKind::Truncate { table: c },
            ] if *type_ == TableName::new(Some("s"), "e") && value == "it's"
                && a.known() == Some(TableName::new(None, "a"))
                && c.known() == Some(TableName::new(Some("B"), "c"))),
            "{kinds:#?}"
        );
        assert_eq!(
            read("ALTER TYPE e RENAME VALUE 'a' TO 'b'"),
            [OperationKind::RenameObject { type_: None }]
        );
        let renamed = Some((TableName::new(Some("s"), "e"), "F".to_owned()));
        assert_eq!(read("ALTER TYPE s.e RENAME TO \"F\""), [OperationKind::RenameObject { type_: renamed }]);
    }

    #[test]
    fn what_a_unique_constraint_says_of_its_index_is_kept() {
        for (words, not_distinct, unclear) in [
            ("UNIQUE (a)", false, false),
            ("UNIQUE NULLS NOT DISTINCT (a)", true, false),
            ("UNIQUE (a) INCLUDE (b)", false, true),
        ] {
            let text = format!("ALTER TABLE t ADD CONSTRAINT u {words}");
            let kind = read(&text).pop();
            let Some(OperationKind::AddConstraint(add)) = kind else { panic!("{text}: {kind:?}") };
            assert_eq!(
                (add.options.nulls_not_distinct, add.options.unclear),
                (not_distinct, unclear),
                "{text}"
            );
        }
    }

    #[test]
    fn using_index_is_read() {
        let kinds = read("ALTER TABLE ONLY t ADD CONSTRAINT uq UNIQUE USING INDEX ix DEFERRABLE");
        assert!(
            matches!(&kinds[..], [OperationKind::UseIndex { name, index, .. }] if name == "uq" && index == "ix"),
            "{kinds:#?}"
        );
    }
}
