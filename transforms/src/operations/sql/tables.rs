//! `CREATE TABLE` and the actions of `ALTER TABLE`.

use squawk_syntax::ast::{
    self, AlterColumnOption, AlterTableAction, AstNode, ColumnClause, ColumnConstraint, ConstraintOption,
};
use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::{Reader, extent, identifier};
use crate::operations::{
    AddConstraint, AlterColumn, Column, Constraint, ConstraintKind, Definition, Generated, IndexElement,
    IndexOptions, OperationKind, TableArg, update,
};
use crate::python::value::{Arg, Value};

impl Reader<'_> {
    pub(super) fn create_table(&self, create: &ast::CreateTable) -> Option<OperationKind> {
        let name = create.table_name()?;
        let temporary = create
            .persistence()
            .is_some_and(|persistence| !self.of(&persistence).to_lowercase().contains("unlogged"));
        if temporary {
            return Some(self.harmless(&extent(create.syntax())));
        }
        Some(OperationKind::CreateTable {
            table: self.table_arg(&name),
            definition: self.definition(create),
            if_not_exists: create.if_not_exists().is_some(),
        })
    }

    fn definition(&self, create: &ast::CreateTable) -> Definition {
        let mut definition = Definition {
            // They bring columns and constraints along.
            incomplete: create.inherits().is_some()
                || create.of_type().is_some()
                || create.partition_of().is_some(),
            partitioned: create.partition_by().is_some(),
            partition_of: create
                .partition_of()
                .and_then(|of| of.table_name_ref())
                .map(|parent| self.qualified(&parent)),
            ..Definition::default()
        };
        for part in create.table_arg_list().into_iter().flat_map(|list| list.args()) {
            match part {
                ast::TableArg::Column(column) => self.column(&column, &mut definition),
                ast::TableArg::TableConstraint(constraint) => {
                    let constraint = ast::Constraint::cast(constraint.syntax().clone());
                    if let Some(ast::Constraint::ForeignKeyConstraint(key)) = &constraint {
                        definition.references.push(key.table_name_ref().map(|name| self.qualified(&name)));
                    }
                    match constraint.and_then(|one| self.table_constraint(&one)) {
                        Some(one) => definition.constraints.push(one),
                        None => definition.incomplete = true,
                    }
                }
                ast::TableArg::LikeClause(_) => definition.incomplete = true,
            }
        }
        definition
    }

    fn table_constraint(&self, constraint: &ast::Constraint) -> Option<Constraint> {
        let read = self.constraint(constraint)?;
        let columns = match read.columns {
            Some(columns) => columns,
            // A check that has no name is named after the column that it uses.
            None if read.name.is_none() => return None,
            None => Vec::new(),
        };
        Some(Constraint {
            name: read.name.value,
            kind: read.kind,
            columns,
            condition: read.condition,
            options: read.options,
            inline: None,
        })
    }

    fn column(&self, column: &ast::Column, definition: &mut Definition) {
        let Some(name) = column.name() else {
            definition.incomplete = true;
            return;
        };
        let constraints: Vec<ast::Constraint> = column
            .clauses()
            .filter_map(|clause| match clause {
                ColumnClause::ColumnConstraint(constraint) => Some(constraint),
                _ => None,
            })
            .filter_map(|constraint: ColumnConstraint| ast::Constraint::cast(constraint.syntax().clone()))
            .collect();
        self.define_column(self.of(&name), column.ty(), &constraints, definition);
    }

    fn define_column(
        &self,
        name: &str,
        type_: Option<ast::Type>,
        constraints: &[ast::Constraint],
        definition: &mut Definition,
    ) {
        let name = identifier(name);
        let type_ = type_.map(|type_| self.of(&type_).to_owned());
        let serial = type_.as_ref().is_some_and(|type_| type_.to_lowercase().contains("serial"));
        let mut column =
            Column { name: name.clone(), type_, nullable: !serial, server_default: serial.then_some(None) };
        if serial {
            definition.generated = Some(Generated::Serial);
        }
        for constraint in constraints {
            match constraint {
                ast::Constraint::NotNullConstraint(_) | ast::Constraint::PrimaryKeyConstraint(_) => {
                    column.nullable = false;
                }
                ast::Constraint::DefaultConstraint(default) => {
                    column.server_default = Some(default.expr().map(|expr| self.of(&expr).to_owned()));
                }
                ast::Constraint::GeneratedConstraint(_) => column.server_default = Some(None),
                _ => {}
            }
            definition.generated = self.generated(constraint).or(definition.generated.take());
            let kind = match constraint {
                ast::Constraint::UniqueConstraint(_) => ConstraintKind::Unique,
                ast::Constraint::PrimaryKeyConstraint(_) => ConstraintKind::PrimaryKey,
                ast::Constraint::ReferencesConstraint(_) => ConstraintKind::ForeignKey,
                ast::Constraint::CheckConstraint(_) => ConstraintKind::Check,
                _ => continue,
            };
            let condition = match constraint {
                ast::Constraint::CheckConstraint(check) => check.expr(),
                _ => None,
            };
            if let ast::Constraint::ReferencesConstraint(references) = constraint {
                definition.references.push(references.table().map(|name| self.qualified(&name)));
            }
            let given = constraint.syntax().children().find_map(ast::ConstraintNameClause::cast);
            let name_of = given.and_then(|clause| clause.constraint_name());
            definition.constraints.push(Constraint {
                name: name_of.map_or(Value::None, |name| self.arg(extent(name.syntax())).value),
                kind,
                columns: condition
                    .as_ref()
                    .map_or_else(|| vec![name.clone()], |condition| self.columns_of(condition.syntax())),
                condition: condition.map(|condition| self.of(&condition).to_owned()),
                options: index_options(self.of(constraint)),
                inline: None,
            });
        }
        definition.columns.push(column);
    }

    /// Where the values of a column come from.
    fn generated(&self, constraint: &ast::Constraint) -> Option<Generated> {
        match constraint {
            ast::Constraint::DefaultConstraint(constraint) => {
                Some(Generated::Default { sql: self.of(&constraint.expr()?).to_owned(), default: None })
            }
            ast::Constraint::GeneratedConstraint(constraint) => {
                let words = update::words(self.of(constraint));
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

    pub(super) fn alter_table(&self, table: &TableArg, action: &AlterTableAction) -> Option<OperationKind> {
        let name = |node: Option<SyntaxNode>| Some(self.arg(extent(&node?)));
        Some(match action {
            AlterTableAction::AddConstraint(add) => self.add_constraint(table, &add.constraint()?)?,
            AlterTableAction::DropConstraint(drop) => OperationKind::DropConstraint {
                table: table.clone(),
                name: name(drop.constraint_name_ref().map(|name| name.syntax().clone()))?,
                if_exists: drop.if_exists().is_some(),
            },
            AlterTableAction::ValidateConstraint(validate) => OperationKind::ValidateConstraint {
                table: table.known()?,
                name: name(validate.constraint_name_ref().map(|name| name.syntax().clone()))?
                    .value
                    .symbol()?
                    .to_owned(),
            },
            AlterTableAction::RenameConstraint(rename) => OperationKind::RenameConstraint {
                table: table.known()?,
                old: identifier(self.of(&rename.constraint_name_ref()?)),
                new: identifier(self.of(&rename.constraint_name()?)),
            },
            AlterTableAction::TableRenameTo(rename) => OperationKind::RenameTable {
                table: table.clone(),
                new_name: name(rename.table_name().map(|name| name.syntax().clone()))?,
            },
            AlterTableAction::AddColumn(add) => {
                let constraints: Vec<_> = add.constraints().collect();
                let mut definition = Definition { inline_references: true, ..Definition::default() };
                self.define_column(self.of(&add.column_name()?), add.ty(), &constraints, &mut definition);
                OperationKind::AddColumn {
                    table: table.clone(),
                    definition,
                    if_not_exists: add.if_not_exists().is_some(),
                }
            }
            AlterTableAction::DropColumn(drop) => OperationKind::DropColumn {
                table: table.clone(),
                column: name(drop.column_name_ref().map(|name| name.syntax().clone()))?,
                if_exists: drop.if_exists().is_some(),
            },
            AlterTableAction::RenameColumn(rename) => OperationKind::AlterColumn(AlterColumn {
                new_name: name(rename.column_name().map(|name| name.syntax().clone()))?,
                ..altered(table, name(rename.column_name_ref().map(|name| name.syntax().clone()))?)
            }),
            AlterTableAction::AlterColumn(alter) => {
                let column = altered(table, name(alter.column_name_ref().map(|name| name.syntax().clone()))?);
                OperationKind::AlterColumn(match alter.option()? {
                    AlterColumnOption::SetNotNull(_) => AlterColumn { nullable: Some(false), ..column },
                    AlterColumnOption::DropNotNull(_) => AlterColumn { nullable: Some(true), ..column },
                    AlterColumnOption::SetType(set) => {
                        let collation = set.collate().map(|collate| format!(" {}", self.of(&collate)));
                        let using = set.using_expr().map(|using| using.expr());
                        AlterColumn {
                            type_: Some(self.of(&set.ty()?).to_owned() + &collation.unwrap_or_default()),
                            using: using.map(|using| Some(self.of(&using?).to_owned())),
                            ..column
                        }
                    }
                    AlterColumnOption::SetDefault(set) => AlterColumn {
                        server_default: set.expr().map(|expr| self.of(&expr).to_owned()),
                        ..column
                    },
                    _ => return Some(self.harmless(&extent(action.syntax()))),
                })
            }
            AlterTableAction::AttachPartition(attach) => OperationKind::AttachPartition {
                table: table.clone(),
                partition: self.table_arg(&attach.table_name_ref()?),
            },
            AlterTableAction::DetachPartition(detach) => OperationKind::DetachPartition {
                table: table.clone(),
                partition: self.table_arg(&detach.table_name_ref()?),
            },
            AlterTableAction::SetSchema(_) => return None,
            other => self.harmless(&extent(other.syntax())),
        })
    }

    fn add_constraint(&self, table: &TableArg, constraint: &ast::Constraint) -> Option<OperationKind> {
        let using = match constraint {
            ast::Constraint::UniqueConstraint(unique) => unique.using_index(),
            ast::Constraint::PrimaryKeyConstraint(key) => key.using_index(),
            _ => None,
        };
        let read = AddConstraint { table: table.clone(), ..self.constraint(constraint)? };
        let Some(using) = using else { return Some(OperationKind::AddConstraint(read)) };
        let index = identifier(&self.text.value[extent(&using.syntax().children().last()?)]);
        Some(OperationKind::UseIndex {
            table: table.known()?,
            name: read.name.value.symbol().map_or_else(|| index.clone(), str::to_owned),
            index,
            kind: read.kind,
        })
    }

    /// A constraint of a table that is not named yet.
    fn constraint(&self, constraint: &ast::Constraint) -> Option<AddConstraint> {
        let clause = constraint.syntax().children().find_map(ast::ConstraintNameClause::cast);
        let name = clause
            .and_then(|clause| clause.constraint_name())
            // No naming convention is asked.
            .map_or_else(|| Arg { exact: true, ..Arg::absent() }, |name| self.arg(extent(name.syntax())));
        let index_columns = |parameters: Option<ast::IndexParameters>| -> Option<Vec<String>> {
            let list = parameters?.column_list()?;
            Some(list.column_name_refs().map(|column| identifier(self.of(&column))).collect())
        };
        let (kind, columns, condition, referent) = match constraint {
            ast::Constraint::UniqueConstraint(unique) => {
                (ConstraintKind::Unique, index_columns(unique.index_parameters()), None, None)
            }
            ast::Constraint::PrimaryKeyConstraint(key) => {
                (ConstraintKind::PrimaryKey, index_columns(key.index_parameters()), None, None)
            }
            ast::Constraint::ForeignKeyConstraint(key) => {
                let columns = key.from_columns()?.column_name_refs();
                let columns = columns.map(|column| identifier(self.of(&column))).collect();
                (
                    ConstraintKind::ForeignKey,
                    Some(columns),
                    None,
                    key.table_name_ref().map(|name| self.table_arg(&name)),
                )
            }
            ast::Constraint::CheckConstraint(check) => {
                let condition = check.expr()?;
                let columns = self.columns_of(condition.syntax());
                (ConstraintKind::Check, Some(columns), Some(self.of(&condition).to_owned()), None)
            }
            // Since PostgreSQL 18 a constraint like others.
            ast::Constraint::NotNullConstraint(not_null) => {
                let column = self.of(&not_null.column_name_ref()?).to_owned();
                let condition = format!("{column} IS NOT NULL");
                (ConstraintKind::Check, Some(vec![identifier(&column)]), Some(condition), None)
            }
            ast::Constraint::ExcludeConstraint(_) => (ConstraintKind::Exclude, None, None, None),
            _ => return None,
        };
        let (mut deferrable, mut initially, mut not_valid) = (None, None, false);
        let options = constraint.syntax().children().filter_map(ConstraintOption::cast);
        for option in options {
            match option {
                ConstraintOption::DeferrableConstraintOption(_) => deferrable = Some(Some(true)),
                ConstraintOption::NotDeferrableConstraintOption(_) => deferrable = Some(Some(false)),
                ConstraintOption::InitiallyDeferredConstraintOption(_) => {
                    initially = Some(Some("DEFERRED".to_owned()));
                }
                ConstraintOption::InitiallyImmediateConstraintOption(_) => {
                    initially = Some(Some("IMMEDIATE".to_owned()));
                }
                ConstraintOption::NotValid(_) => not_valid = true,
                _ => {}
            }
        }
        Some(AddConstraint {
            name,
            table: TableArg { name: Arg::absent(), schema: Arg::absent() },
            kind,
            columns,
            condition,
            referent,
            not_valid,
            deferrable,
            initially,
            options: index_options(self.of(constraint)),
            keywords: Vec::new(),
        })
    }

    /// The columns that an expression uses.
    fn columns_of(&self, expression: &SyntaxNode) -> Vec<String> {
        let mut columns: Vec<String> = Vec::new();
        for node in expression.descendants().filter(|node| node.kind() == SyntaxKind::NAME_REF) {
            // `lower(a)`: a function, and a column.
            let calls = node.parent().is_some_and(|parent| parent.kind() == SyntaxKind::CALL_EXPR);
            let name = identifier(&self.text.value[extent(&node)]);
            if !calls && !columns.contains(&name) {
                columns.push(name);
            }
        }
        columns
    }

    /// A part of an index key.
    pub(super) fn element(&self, item: &ast::PartitionItem) -> IndexElement {
        let plain = item.collate().is_none()
            && item.op_class_ref().is_none()
            && item.sort_order().is_none()
            && item.nulls_order().is_none();
        match item.expr() {
            Some(ast::Expr::NameRef(name)) if plain => IndexElement::Column(identifier(self.of(&name))),
            _ => IndexElement::Expression(Some(self.of(item).to_owned())),
        }
    }
}

/// What the text of a unique constraint says of its index.
fn index_options(text: &str) -> IndexOptions {
    let words = update::words(text);
    let is_word = |known: &&str| words.iter().any(|word| word == known);
    IndexOptions {
        nulls_not_distinct: words.windows(3).any(|three| three == ["nulls", "not", "distinct"]),
        unclear: ["include", "with", "tablespace"].iter().any(is_word),
        ..IndexOptions::default()
    }
}

/// A column that nothing has been changed of yet.
fn altered(table: &TableArg, column: Arg) -> AlterColumn {
    AlterColumn {
        table: table.clone(),
        column,
        new_name: Arg::absent(),
        nullable: None,
        existing_nullable: None,
        type_: None,
        server_default: None,
        existing_type: None,
        using: None,
        using_cast: false,
        keywords: Vec::new(),
    }
}
