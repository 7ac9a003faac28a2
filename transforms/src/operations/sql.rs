//! SQL text as operations, read by a PostgreSQL parser.
//!
//! What is read here keeps the catalog true. Rewriting SQL text is not done yet; when it is, the
//! same operations will carry the ranges of the text they came from.

use squawk_syntax::ast::{
    self, AlterColumnOption, AlterIndexAction, AlterTableAction, AlterTypeAction, AstNode, Stmt,
};
use squawk_syntax::{SourceFile, SyntaxKind};

use super::{
    AddConstraint, AlterColumn, Column, Constraint, ConstraintKind, CreateIndex, Definition, DropIndex,
    Generated, OperationKind, TableArg, TableName, update,
};
use crate::python::value::{Arg, Value};

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

/// Read every statement of a string.
pub(super) fn read(sql: &str) -> Vec<OperationKind> {
    // The parser prefers statements that end; bind parameters are no part of its grammar.
    let masked = mask_parameters(sql);
    let parse = SourceFile::parse(&masked);
    let errors = !parse.errors().is_empty();
    let mut kinds = Vec::new();
    for statement in parse.tree().stmts() {
        if errors && !matches!(statement, Stmt::Commit(_)) && is_schema_change(&masked) {
            kinds.clear();
            break;
        }
        match &statement {
            Stmt::Update(update) if !errors => {
                kinds.push(update::read(update, sql).map_or_else(|| harmless(sql), OperationKind::Update));
            }
            _ => self::statement(&statement, &mut kinds),
        }
    }
    if kinds.is_empty() {
        kinds.push(if is_schema_change(&masked) { unread(sql) } else { harmless(sql) });
    }
    kinds
}

fn unread(sql: &str) -> OperationKind {
    OperationKind::Opaque { reason: "SQL text".to_owned(), sql: Some(sql.to_owned()) }
}

fn harmless(sql: &str) -> OperationKind {
    OperationKind::Harmless { sql: Some(sql.to_owned()) }
}

/// Words that begin (or, in a `DO` block, may be) a change of the schema.
fn is_schema_change(sql: &str) -> bool {
    const VERBS: &[&str] =
        &["create", "alter", "drop", "do", "call", "rename", "truncate", "reindex", "cluster"];
    sql.split(|c: char| !c.is_ascii_alphabetic())
        .any(|word| VERBS.iter().any(|verb| word.eq_ignore_ascii_case(verb)))
}

/// `:name` → `_name` and `%s` → `_s`, at equal length, so that offsets stay.
fn mask_parameters(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut previous = ' ';
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied().unwrap_or(' ');
        let parameter = (c == ':' && previous != ':' && (next.is_ascii_alphabetic() || next == '_'))
            || (c == '%' && (next == 's' || next == '('));
        out.push(if parameter { '_' } else { c });
        previous = c;
    }
    out
}

fn statement(statement: &Stmt, kinds: &mut Vec<OperationKind>) {
    let text = statement.syntax().text().to_string();
    match statement {
        Stmt::Commit(_) => kinds.push(OperationKind::Commit),
        Stmt::CreateTable(create) => match create.table_name() {
            Some(name) => {
                let temporary = create
                    .persistence()
                    .is_some_and(|p| !p.syntax().text().to_string().to_lowercase().contains("unlogged"));
                if temporary {
                    kinds.push(harmless(&text));
                    return;
                }
                kinds.push(OperationKind::CreateTable {
                    table: table_arg(&name),
                    definition: definition(create),
                    if_not_exists: create.if_not_exists().is_some(),
                });
            }
            None => kinds.push(unread(&text)),
        },
        Stmt::CreateTableAs(create) => match create.table_name() {
            Some(name) => kinds.push(OperationKind::CreateTable {
                table: table_arg(&name),
                definition: Definition { incomplete: true, ..Definition::default() },
                if_not_exists: create.if_not_exists().is_some(),
            }),
            None => kinds.push(unread(&text)),
        },
        Stmt::DropTable(drop) => kinds.extend(drop.table_name_refs().map(|name| OperationKind::DropTable {
            table: table_arg(&name),
            if_exists: drop.if_exists().is_some(),
        })),
        Stmt::CreateIndex(create) => match (create.index(), relation(create.table_relation_name())) {
            (Some(index), Some(table)) => kinds.push(OperationKind::CreateIndex(CreateIndex {
                name: arg(&qualified(&index).name),
                table: known(&table),
                elements: None,
                unique: create.unique_token().is_some(),
                concurrently: create.concurrently_token().is_some(),
                if_not_exists: create.if_not_exists().is_some(),
            })),
            _ => kinds.push(unread(&text)),
        },
        Stmt::DropIndex(drop) => kinds.extend(drop.index_refs().map(|index| {
            let index = qualified(&index);
            OperationKind::DropIndex(DropIndex {
                name: arg(&index.name),
                table: TableArg {
                    name: Arg::absent(),
                    schema: index.schema.as_deref().map_or_else(Arg::absent, arg),
                },
                concurrently: drop.concurrently_token().is_some(),
                if_exists: drop.if_exists().is_some(),
            })
        })),
        Stmt::AlterIndex(alter) => match (alter.index_ref(), alter.action()) {
            (Some(index), Some(AlterIndexAction::IndexRenameTo(to))) => {
                let index = qualified(&index);
                match to.syntax().children().last() {
                    Some(new) => kinds.push(OperationKind::RenameIndex {
                        schema: index.schema,
                        old: index.name,
                        new: identifier(&new.text().to_string()),
                    }),
                    None => kinds.push(unread(&text)),
                }
            }
            _ => kinds.push(harmless(&text)),
        },
        Stmt::AlterTable(alter) => match relation(alter.table_relation_name()) {
            Some(table) => {
                for action in alter.actions() {
                    kinds.push(alter_table(&table, &action).unwrap_or_else(|| unread(&text)));
                }
            }
            None => kinds.push(unread(&text)),
        },
        Stmt::AlterType(alter) => kinds.push(add_enum_value(alter).unwrap_or_else(|| unread(&text))),
        Stmt::Truncate(truncate) => {
            let tables: Option<Vec<_>> = truncate
                .table_list()
                .map(|list| list.table_relation_names().map(|name| relation(Some(name))).collect())
                .unwrap_or_default();
            match tables {
                Some(tables) if !tables.is_empty() => {
                    kinds.extend(tables.iter().map(|table| OperationKind::Truncate { table: known(table) }));
                }
                _ => kinds.push(unread(&text)),
            }
        }
        _ => {
            let first = text.split_whitespace().next().unwrap_or_default().to_lowercase();
            kinds.push(match first.as_str() {
                "create" | "alter" | "drop" | "do" | "call" | "truncate" | "reindex" | "cluster" => {
                    unread(&text)
                }
                _ => harmless(&text),
            });
        }
    }
}

fn alter_table(table: &TableName, action: &AlterTableAction) -> Option<OperationKind> {
    Some(match action {
        AlterTableAction::AddConstraint(add) => add_constraint(table, &add.constraint()?)?,
        AlterTableAction::DropConstraint(drop) => OperationKind::DropConstraint {
            table: known(table),
            name: arg(&identifier(&text(&drop.constraint_name_ref()?))),
            if_exists: drop.if_exists().is_some(),
        },
        AlterTableAction::ValidateConstraint(validate) => OperationKind::ValidateConstraint {
            table: table.clone(),
            name: identifier(&text(&validate.constraint_name_ref()?)),
        },
        AlterTableAction::RenameConstraint(rename) => OperationKind::RenameConstraint {
            table: table.clone(),
            old: identifier(&text(&rename.constraint_name_ref()?)),
            new: identifier(&text(&rename.constraint_name()?)),
        },
        AlterTableAction::TableRenameTo(rename) => OperationKind::RenameTable {
            table: known(table),
            new_name: arg(&identifier(&text(&rename.table_name()?))),
        },
        AlterTableAction::AddColumn(add) => {
            let type_ = add.ty().map(|type_| text(&type_));
            let mut column = column(&text(&add.column_name()?), type_);
            for constraint in add.constraints() {
                match constraint {
                    ast::Constraint::NotNullConstraint(_) | ast::Constraint::PrimaryKeyConstraint(_) => {
                        column.nullable = false;
                    }
                    ast::Constraint::DefaultConstraint(default) => {
                        column.server_default = Some(default.expr().map(|expr| text(&expr)));
                    }
                    ast::Constraint::GeneratedConstraint(_) => column.server_default = Some(None),
                    _ => {}
                }
            }
            let mut definition = Definition { columns: vec![column], ..Definition::default() };
            for constraint in add.constraints() {
                inline_constraint(&constraint, &mut definition);
                definition.generated = generated(&constraint).or(definition.generated);
            }
            let type_ = add.ty().map(|type_| text(&type_).to_lowercase());
            if matches!(
                type_.as_deref(),
                Some("serial" | "bigserial" | "smallserial" | "serial4" | "serial8")
            ) {
                definition.generated = Some(Generated::Serial);
            }
            OperationKind::AddColumn {
                table: known(table),
                definition,
                if_not_exists: add.if_not_exists().is_some(),
            }
        }
        AlterTableAction::DropColumn(drop) => OperationKind::DropColumn {
            table: known(table),
            column: arg(&identifier(&text(&drop.column_name_ref()?))),
            if_exists: drop.if_exists().is_some(),
        },
        AlterTableAction::RenameColumn(rename) => OperationKind::AlterColumn(AlterColumn {
            new_name: arg(&identifier(&text(&rename.column_name()?))),
            ..altered(table, &text(&rename.column_name_ref()?))
        }),
        AlterTableAction::AlterColumn(alter) => {
            let column = altered(table, &text(&alter.column_name_ref()?));
            OperationKind::AlterColumn(match alter.option()? {
                AlterColumnOption::SetNotNull(_) => AlterColumn { nullable: Some(false), ..column },
                AlterColumnOption::DropNotNull(_) => AlterColumn { nullable: Some(true), ..column },
                _ => return Some(harmless(&text(action))),
            })
        }
        AlterTableAction::SetSchema(_)
        | AlterTableAction::AttachPartition(_)
        | AlterTableAction::DetachPartition(_) => return None,
        other => harmless(&text(other)),
    })
}

/// A column that nothing has been changed of yet.
fn altered(table: &TableName, column: &str) -> AlterColumn {
    AlterColumn {
        table: known(table),
        column: arg(&identifier(column)),
        new_name: Arg::absent(),
        nullable: None,
        existing_nullable: None,
        type_: None,
        server_default: None,
        using: false,
    }
}

fn add_constraint(table: &TableName, constraint: &ast::Constraint) -> Option<OperationKind> {
    let whole = text(constraint).to_lowercase();
    let condition = match constraint {
        ast::Constraint::CheckConstraint(check) => check.expr().map(|condition| text(&condition)),
        // Since PostgreSQL 18 a constraint like others.
        ast::Constraint::NotNullConstraint(_) => {
            let column = whole.split_once("not null").and_then(|(_, rest)| rest.split_whitespace().next());
            column.map(|column| format!("{column} IS NOT NULL"))
        }
        _ => None,
    };
    let (kind, name, using, referent) = match constraint {
        ast::Constraint::UniqueConstraint(c) => {
            (ConstraintKind::Unique, c.constraint_name_clause(), c.using_index(), None)
        }
        ast::Constraint::PrimaryKeyConstraint(c) => {
            (ConstraintKind::PrimaryKey, c.constraint_name_clause(), c.using_index(), None)
        }
        ast::Constraint::ForeignKeyConstraint(c) => (
            ConstraintKind::ForeignKey,
            c.constraint_name_clause(),
            None,
            c.table_name_ref().map(|name| table_arg(&name)),
        ),
        ast::Constraint::CheckConstraint(c) => {
            (ConstraintKind::Check, c.constraint_name_clause(), None, None)
        }
        ast::Constraint::NotNullConstraint(c) => {
            (ConstraintKind::Check, c.constraint_name_clause(), None, None)
        }
        ast::Constraint::ExcludeConstraint(c) => {
            (ConstraintKind::Exclude, c.constraint_name_clause(), None, None)
        }
        _ => return None,
    };
    let name = name
        .and_then(|clause| clause.syntax().children().last())
        .map(|name| identifier(&name.text().to_string()));
    if let Some(using) = using {
        let index = identifier(&using.syntax().children().last()?.text().to_string());
        return Some(OperationKind::UseIndex {
            table: table.clone(),
            name: name.unwrap_or_else(|| index.clone()),
            index,
            kind,
        });
    }
    Some(OperationKind::AddConstraint(AddConstraint {
        name: name.as_deref().map_or_else(Arg::absent, arg),
        table: known(table),
        kind,
        columns: None,
        condition,
        referent,
        not_valid: whole.ends_with("not valid"),
        deferrable: None,
        initially: None,
        keywords: Vec::new(),
    }))
}

/// `ALTER TYPE … ADD VALUE`.
fn add_enum_value(alter: &ast::AlterType) -> Option<OperationKind> {
    let AlterTypeAction::AddValue(add) = alter.action()? else { return None };
    let literal = text(&add.literal()?);
    let value = literal.trim().strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'");
    let type_ = qualified(&alter.type_name_ref()?);
    Some(OperationKind::AddEnumValue { type_, value, if_not_exists: add.if_not_exists().is_some() })
}

/// A column of a type; `serial` and the like have a default of their own.
fn column(name: &str, type_: Option<String>) -> Column {
    let serial = type_.as_ref().is_some_and(|type_| type_.to_lowercase().contains("serial"));
    Column { name: identifier(name), type_, nullable: true, server_default: serial.then_some(None) }
}

fn inline_constraint(constraint: &ast::Constraint, definition: &mut Definition) {
    let kind = match constraint {
        ast::Constraint::UniqueConstraint(_) => ConstraintKind::Unique,
        ast::Constraint::PrimaryKeyConstraint(_) => ConstraintKind::PrimaryKey,
        ast::Constraint::ReferencesConstraint(_) => ConstraintKind::ForeignKey,
        ast::Constraint::CheckConstraint(_) => ConstraintKind::Check,
        _ => return,
    };
    let columns = definition.columns.iter().map(|column| column.name.clone()).collect();
    definition.constraints.push(Constraint { name: Value::None, kind, columns });
}

/// Where the values of a column come from.
fn generated(constraint: &ast::Constraint) -> Option<Generated> {
    match constraint {
        ast::Constraint::DefaultConstraint(constraint) => {
            Some(Generated::Default { sql: text(&constraint.expr()?), default: None })
        }
        ast::Constraint::GeneratedConstraint(constraint) => {
            let words = update::words(&text(constraint));
            let has = |word: &str| words.iter().any(|known| known == word);
            if has("identity") {
                Some(Generated::Identity)
            } else {
                has("stored").then_some(Generated::Stored)
            }
        }
        _ => None,
    }
}

/// The columns are read; constraints inside of `CREATE TABLE` are not, so the table is incomplete.
fn definition(create: &ast::CreateTable) -> Definition {
    let mut definition = Definition {
        incomplete: true,
        partitioned: create.partition_by().is_some(),
        ..Definition::default()
    };
    for part in create.table_arg_list().into_iter().flat_map(|list| list.args()) {
        if let ast::TableArg::Column(column) = part
            && let Some(name) = column.name()
        {
            let type_ = column.ty().map(|type_| text(&type_));
            definition.columns.push(self::column(&text(&name), type_));
        }
    }
    definition
}

fn text(node: &impl AstNode) -> String {
    node.syntax().text().to_string()
}

fn relation(name: Option<ast::TableRelationName>) -> Option<TableName> {
    Some(qualified(&name?.table_name_ref()?))
}

/// `schema.name` of a node, folded as PostgreSQL folds identifiers.
pub(super) fn qualified(node: &impl AstNode) -> TableName {
    let text = text(node);
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut quoted = false;
    for c in text.trim().chars() {
        match c {
            '"' => {
                quoted = !quoted;
                part.push(c);
            }
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    let schema = parts.last().map(|schema| identifier(schema));
    TableName::new(schema.as_deref(), &identifier(&part))
}

/// An identifier as PostgreSQL stores it: unquoted ones are folded to lower case.
pub(super) fn identifier(text: &str) -> String {
    let text = text.trim();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_lowercase(),
    }
}

fn arg(name: &str) -> Arg {
    Arg { value: Value::Str(name.to_owned()), range: None, literal: true, exact: true }
}

pub(super) fn known(table: &TableName) -> TableArg {
    TableArg { name: arg(&table.name), schema: table.schema.as_deref().map_or_else(Arg::absent, arg) }
}

fn table_arg(node: &impl AstNode) -> TableArg {
    known(&qualified(node))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(matches!(&read("ALTER TYPE e RENAME VALUE 'a' TO 'b'")[..], [OperationKind::Opaque { .. }]));
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
