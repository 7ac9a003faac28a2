//! `op.*` and `batch_op.*` calls, read by Alembic's own signatures.
//!
//! Source: "Operation Reference" of Alembic's documentation. The names of parameters that older
//! versions used are still found in old histories.

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::{Expr, ExprCall};
use ruff_text_size::Ranged;

use super::modules::Modules;
use super::types::Types;
use super::{
    AddConstraint, AlterColumn, Batch, Column, Constraint, ConstraintKind, CreateIndex, DeclaredIndex,
    Definition, DropIndex, Generated, IndexElement, IndexOptions, InlineConstraint, OperationKind, TableArg,
    TableName,
};
use crate::layout::call::quoted;
use crate::python::Module;
use crate::python::scope::Scope;
use crate::python::value::{Arg, Value};

/// Reads the arguments of one call.
pub(super) struct Call<'a> {
    pub(super) call: &'a ExprCall,
    pub(super) scope: &'a Scope,
    pub(super) module: &'a Module,
    pub(super) modules: Option<&'a Modules>,
    pub(super) batch: Option<&'a Batch>,
}

impl Call<'_> {
    fn expr(&self, names: &[&str], position: Option<usize>) -> Option<&Expr> {
        let arguments = &self.call.arguments;
        names
            .iter()
            .find_map(|name| arguments.find_keyword(name).map(|keyword| &keyword.value))
            .or_else(|| position.and_then(|position| arguments.find_positional(position)))
    }

    fn arg(&self, names: &[&str], position: Option<usize>) -> Arg {
        self.expr(names, position).map_or_else(Arg::absent, |expr| self.scope.arg(expr))
    }

    /// An argument of `op.*` at `position`, which `batch_op.*` has one place further to the left,
    /// because it has no table argument.
    fn after_table(&self, names: &[&str], position: usize) -> Arg {
        self.arg(names, Some(position - usize::from(self.batch.is_some())))
    }

    fn expr_after_table(&self, names: &[&str], position: usize) -> Option<&Expr> {
        self.expr(names, Some(position - usize::from(self.batch.is_some())))
    }

    fn flag(&self, name: &str) -> bool {
        match self.expr(&[name], None) {
            Some(expr) => self.scope.eval(expr).truth() == Some(true),
            None => self.unpacked(name).is_some_and(|value| value.truth() == Some(true)),
        }
    }

    /// What `**options` gives, where that is known.
    fn unpacked(&self, name: &str) -> Option<Value> {
        let options = self.call.arguments.keywords.iter().filter(|keyword| keyword.arg.is_none());
        options.into_iter().find_map(|keyword| match self.scope.eval(&keyword.value) {
            Value::Dict(items) => {
                items.into_iter().find_map(|(key, value)| (key.as_str() == Some(name)).then_some(value))
            }
            _ => None,
        })
    }

    fn table(&self, names: &[&str], position: usize, schema: &[&str]) -> TableArg {
        match self.batch {
            Some(batch) => TableArg { name: batch.table.clone(), schema: batch.schema.clone() },
            None => TableArg { name: self.arg(names, Some(position)), schema: self.arg(schema, None) },
        }
    }

    fn strings(&self, expr: Option<&Expr>) -> Option<Vec<String>> {
        match self.scope.eval(expr?) {
            Value::List(values) => values.iter().map(|value| value.as_str().map(str::to_owned)).collect(),
            Value::Str(name) => Some(vec![name]),
            _ => None,
        }
    }

    fn elements(&self, expr: Option<&Expr>) -> Option<Vec<IndexElement>> {
        match self.scope.eval(expr?) {
            Value::List(values) => Some(values.into_iter().map(index_element).collect()),
            value @ Value::Str(_) => Some(vec![index_element(value)]),
            _ => None,
        }
    }

    /// Read the call; `None` when the method is not an operation (`op.f`, `op.get_bind`).
    #[expect(clippy::too_many_lines, reason = "one arm per method")]
    pub(super) fn read(&self, method: &str) -> Option<OperationKind> {
        let table = |position| self.table(&["table_name", "tablename"], position, &["schema"]);
        Some(match method {
            // What `sa.Table("name", metadata, …)` defines is created as by `op.create_table("name", …)`.
            "create_table" | "Table" => {
                let before = if method == "Table" { 2 } else { 1 };
                let mut definition = self.definition(self.call.arguments.args.iter().skip(before));
                definition.partitioned =
                    self.call.arguments.find_keyword("postgresql_partition_by").is_some();
                OperationKind::CreateTable {
                    table: TableArg {
                        name: self.arg(&["table_name", "name"], Some(0)),
                        schema: self.arg(&["schema"], None),
                    },
                    definition,
                    if_not_exists: self.flag("if_not_exists"),
                }
            }
            "drop_table" => OperationKind::DropTable {
                table: TableArg {
                    name: self.arg(&["table_name", "name"], Some(0)),
                    schema: self.arg(&["schema"], None),
                },
                if_exists: self.flag("if_exists"),
            },
            "rename_table" => OperationKind::RenameTable {
                table: TableArg {
                    name: self.arg(&["old_table_name"], Some(0)),
                    schema: self.arg(&["schema"], Some(2)),
                },
                new_name: self.arg(&["new_table_name"], Some(1)),
            },
            "add_column" => {
                let mut definition = self.definition(self.expr_after_table(&["column"], 1).into_iter());
                definition.inline_references = self.flag("inline_references");
                if !self.flag("inline_primary_key") {
                    // Alembic adds all constraints of a column but this.
                    definition.constraints.retain(|constraint| constraint.kind != ConstraintKind::PrimaryKey);
                }
                OperationKind::AddColumn {
                    table: table(0),
                    definition,
                    if_not_exists: self.flag("if_not_exists"),
                }
            }
            "drop_column" => OperationKind::DropColumn {
                table: table(0),
                column: self.after_table(&["column_name"], 1),
                if_exists: self.flag("if_exists"),
            },
            "alter_column" => {
                let truth = |name| self.expr(&[name], None).and_then(|expr| self.scope.eval(expr).truth());
                OperationKind::AlterColumn(AlterColumn {
                    table: table(0),
                    column: self.after_table(&["column_name"], 1),
                    new_name: self.arg(&["new_column_name", "name"], None),
                    nullable: truth("nullable"),
                    existing_nullable: truth("existing_nullable"),
                    type_: self.expr(&["type_"], None).map(|expr| self.type_(expr)),
                    existing_type: self
                        .expr(&["existing_type"], None)
                        .filter(|expr| !expr.is_none_literal_expr())
                        .map(|expr| self.type_(expr)),
                    server_default: self.server_default().and_then(sql),
                    using: self
                        .expr(&["postgresql_using"], None)
                        .filter(|expr| !expr.is_none_literal_expr())
                        .map(|_| self.condition(&["postgresql_using"], None)),
                    using_cast: self.is_cast(),
                    keywords: self.keywords(),
                })
            }
            "create_index" => OperationKind::CreateIndex(CreateIndex {
                name: self.arg(&["index_name", "name"], Some(0)),
                table: table(1),
                definition: self.index_definition(),
                elements: self.elements(self.expr_after_table(&["columns"], 2)),
                unique: self.flag("unique"),
                options: IndexOptions::read(self.call, self.scope),
                concurrently: self.flag("postgresql_concurrently"),
                if_not_exists: self.flag("if_not_exists"),
                only: false,
            }),
            "drop_index" => OperationKind::DropIndex(DropIndex {
                name: self.arg(&["index_name", "name"], Some(0)),
                table: table(1),
                concurrently: self.flag("postgresql_concurrently"),
                if_exists: self.flag("if_exists"),
                cascade: false,
            }),
            "create_unique_constraint" => {
                self.constraint(ConstraintKind::Unique, self.expr_after_table(&["columns", "local_cols"], 2))
            }
            "create_primary_key" => {
                self.constraint(ConstraintKind::PrimaryKey, self.expr_after_table(&["columns", "cols"], 2))
            }
            "create_exclude_constraint" => self.constraint(ConstraintKind::Exclude, None),
            "create_check_constraint" => {
                let position = 2 - usize::from(self.batch.is_some());
                let mut kind = self.constraint(ConstraintKind::Check, None);
                if let OperationKind::AddConstraint(check) = &mut kind {
                    check.condition = self.condition(&["condition"], Some(position));
                }
                kind
            }
            "create_foreign_key" => {
                let table = self.table(&["source_table", "source"], 1, &["source_schema"]);
                let referent = TableArg {
                    name: self.after_table(&["referent_table", "referent"], 2),
                    schema: self.arg(&["referent_schema"], None),
                };
                let mut kind =
                    self.constraint(ConstraintKind::ForeignKey, self.expr_after_table(&["local_cols"], 3));
                if let OperationKind::AddConstraint(foreign_key) = &mut kind {
                    foreign_key.table = table;
                    foreign_key.referent = Some(referent);
                }
                kind
            }
            "drop_constraint" => OperationKind::DropConstraint {
                name: self.arg(&["constraint_name", "name"], Some(0)),
                table: table(1),
                if_exists: self.flag("if_exists"),
            },
            "sync_enum_values" => OperationKind::SyncEnum {
                type_: self.arg(&["enum_name"], Some(1)),
                tables: self.expr(&["affected_columns"], Some(3)).and_then(|expr| self.owners(expr)),
            },
            "bulk_insert" | "create_table_comment" | "drop_table_comment" => {
                OperationKind::Harmless { sql: None }
            }
            "f" | "get_bind" | "get_context" | "batch_alter_table" | "autocommit_block"
            | "register_operation" | "implementation_for" | "execute" => return None,
            other => OperationKind::Opaque {
                reason: format!("`{other}` is not an operation of Alembic's own"),
                sql: None,
            },
        })
    }

    /// The tables of `[TableReference(table_name="a", column_name="b"), ("a", "b")]`.
    fn owners(&self, columns: &Expr) -> Option<Vec<TableName>> {
        let schema = self.arg(&["enum_schema"], Some(0));
        let owner = |column: &Expr| {
            let (schema, name) = match column {
                Expr::Tuple(column) => (schema.value.clone(), self.scope.eval(column.elts.first()?)),
                Expr::Call(call) => {
                    let Self { scope, module, modules, .. } = *self;
                    let inner = Call { call, scope, module, modules, batch: None };
                    let own = inner.expr(&["table_schema"], Some(2)).map(|expr| self.scope.eval(expr));
                    (own.unwrap_or_else(|| schema.value.clone()), inner.arg(&["table_name"], Some(0)).value)
                }
                _ => return None,
            };
            Some(TableName::new(schema.as_str(), name.as_str()?))
        };
        let mut owners: Vec<_> = columns.as_list_expr()?.iter().map(owner).collect::<Option<_>>()?;
        owners.sort();
        owners.dedup();
        Some(owners)
    }

    /// `(a, b)`, when nothing else is said of an index.
    fn index_definition(&self) -> Option<String> {
        if IndexOptions::read(self.call, self.scope) != IndexOptions::default() {
            return None;
        }
        let elements = self.elements(self.expr_after_table(&["columns"], 2))?;
        let columns = elements.iter().map(|element| match element {
            IndexElement::Column(column) => Some(quoted(column)),
            IndexElement::Expression(sql) => sql.clone(),
        });
        Some(format!("({})", columns.collect::<Option<Vec<_>>>()?.join(", ")))
    }

    fn constraint(&self, kind: ConstraintKind, columns: Option<&Expr>) -> OperationKind {
        let given = |name| self.expr(&[name], None).map(|expr| self.scope.eval(expr));
        OperationKind::AddConstraint(AddConstraint {
            name: self.arg(&["constraint_name", "name"], Some(0)),
            table: self.table(&["table_name", "source", "tablename"], 1, &["schema"]),
            kind,
            columns: self.strings(columns),
            condition: None,
            referent: None,
            not_valid: self.flag("postgresql_not_valid"),
            deferrable: given("deferrable").filter(|value| *value != Value::None).map(|value| value.truth()),
            initially: given("initially")
                .filter(|value| *value != Value::None)
                .map(|value| value.as_str().map(str::to_owned)),
            options: IndexOptions::read(self.call, self.scope),
            keywords: self.keywords(),
        })
    }

    fn keywords(&self) -> Vec<String> {
        let keywords = self.call.arguments.keywords.iter();
        keywords.filter_map(|keyword| keyword.arg.as_ref().map(ToString::to_string)).collect()
    }

    /// Read `sa.Column(…)`, `sa.ForeignKeyConstraint(…)` and the like.
    fn definition<'b>(&self, parts: impl Iterator<Item = &'b Expr>) -> Definition {
        let mut definition = Definition::default();
        for part in parts {
            match part {
                Expr::Call(call) => self.part(call, &mut definition),
                _ => definition.incomplete = true,
            }
        }
        definition
    }

    fn part(&self, call: &ExprCall, definition: &mut Definition) {
        let inner = Call { call, scope: self.scope, module: self.module, modules: self.modules, batch: None };
        let name = |position| inner.arg(&["name"], position).value;
        let constraint = |kind, name, columns| Constraint {
            name,
            kind,
            columns,
            condition: None,
            options: IndexOptions::read(call, self.scope),
            inline: None,
        };
        let words = |from: usize| {
            call.arguments
                .args
                .iter()
                .skip(from)
                .map(|arg| self.scope.eval(arg).as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        };
        match callee(call) {
            Some("Column") => inner.column(definition),
            Some("PrimaryKeyConstraint") => {
                let columns = words(0).unwrap_or_default();
                definition.constraints.push(constraint(ConstraintKind::PrimaryKey, name(None), columns));
            }
            Some("UniqueConstraint") => {
                let columns = words(0).unwrap_or_default();
                definition.constraints.push(constraint(ConstraintKind::Unique, name(None), columns));
            }
            Some("ForeignKeyConstraint") => {
                let first = inner.strings(inner.expr(&["refcolumns"], Some(1)));
                let first = first.and_then(|columns| columns.into_iter().next());
                definition.references.push(first.as_deref().and_then(referenced));
                let columns = inner.strings(inner.expr(&["columns"], Some(0))).unwrap_or_default();
                definition.constraints.push(constraint(ConstraintKind::ForeignKey, name(Some(2)), columns));
            }
            Some("CheckConstraint") => definition.constraints.push(Constraint {
                condition: inner.condition(&["sqltext"], Some(0)),
                ..constraint(ConstraintKind::Check, name(Some(1)), Vec::new())
            }),
            Some("ExcludeConstraint") => {
                definition.constraints.push(constraint(ConstraintKind::Exclude, name(None), Vec::new()));
            }
            Some("Index") => definition.indexes.push(DeclaredIndex {
                name: name(Some(0)).as_str().map(str::to_owned),
                unique: inner.flag("unique"),
                elements: call
                    .arguments
                    .args
                    .iter()
                    .skip(1)
                    .map(|arg| index_element(self.scope.eval(arg)))
                    .collect(),
                options: IndexOptions::read(call, self.scope),
            }),
            _ => definition.incomplete = true,
        }
    }

    /// Whether `postgresql_using` is one cast of the column.
    fn is_cast(&self) -> bool {
        let using = self.arg(&["postgresql_using"], None);
        let column = self.after_table(&["column_name"], 1);
        using.as_str().zip(column.as_str()).is_some_and(|(using, column)| is_cast_of(using, column))
    }

    /// An argument that is SQL text, as a string or as `sa.text("…")`.
    fn condition(&self, names: &[&str], position: Option<usize>) -> Option<String> {
        match self.scope.eval(self.expr(names, position)?) {
            Value::Str(sql) | Value::Sql(sql) => Some(sql),
            _ => None,
        }
    }

    /// The server default that the call gives.
    fn server_default(&self) -> Option<Value> {
        let value = self.scope.eval(self.expr(&["server_default"], None)?);
        (value != Value::None).then_some(value)
    }

    fn type_(&self, expr: &Expr) -> String {
        Types { module: self.module, scope: self.scope, modules: self.modules }.code(expr)
    }

    /// Whether SQLAlchemy makes the column of a primary key a `SERIAL`; where that depends on a type
    /// that is not known, it may.
    fn may_be_serial(&self, type_: Option<&str>, references: bool) -> bool {
        let autoincrement = self.expr(&["autoincrement"], None).map(|expr| self.scope.eval(expr));
        match autoincrement {
            Some(Value::Bool(false)) => return false,
            None if references => return false,
            _ => {}
        }
        let Some(type_) = type_ else { return true };
        let name = type_.split('(').next().and_then(|path| path.rsplit('.').next()).unwrap_or_default();
        ![
            "string",
            "text",
            "unicode",
            "unicodetext",
            "varchar",
            "char",
            "uuid",
            "datetime",
            "date",
            "boolean",
        ]
        .contains(&name.to_ascii_lowercase().as_str())
    }

    fn column(&self, definition: &mut Definition) {
        let Value::Str(name) = self.arg(&["name"], Some(0)).value else {
            definition.incomplete = true;
            return;
        };
        let flag = |keyword| self.flag(keyword);
        let columns = || vec![name.clone()];
        let mut type_ = self.expr(&["type_"], None).map(|expr| self.type_(expr));
        let mut server_default = self.server_default().map(sql);
        let mut references = false;
        for (position, arg) in self.call.arguments.args.iter().enumerate().skip(1) {
            let called = if let Expr::Call(call) = arg { callee(call) } else { None };
            match (called, arg) {
                (Some(name @ ("ForeignKey" | "CheckConstraint")), Expr::Call(call)) => {
                    references |= name == "ForeignKey";
                    let inner = Call {
                        call,
                        scope: self.scope,
                        module: self.module,
                        modules: self.modules,
                        batch: None,
                    };
                    if name == "ForeignKey" {
                        let referent = inner.arg(&["column"], Some(0));
                        definition.references.push(referent.as_str().and_then(referenced));
                    }
                    definition.constraints.push(inner.inline_constraint(name == "ForeignKey", columns()));
                }
                (Some("Identity" | "Computed" | "DefaultClause"), _) => server_default = Some(None),
                (Some("Sequence" | "FetchedValue"), _) => {}
                _ if position == 1 => type_ = Some(self.type_(arg)),
                _ => {}
            }
        }
        let primary = flag("primary_key");
        if primary {
            match definition
                .constraints
                .iter_mut()
                .find(|constraint| constraint.kind == ConstraintKind::PrimaryKey)
            {
                Some(key) => key.columns.push(name.clone()),
                None => definition.constraints.push(unnamed(ConstraintKind::PrimaryKey, columns())),
            }
        }
        // `index=True, unique=True` is one unique index, and no constraint.
        if flag("index") {
            definition.indexes.push(DeclaredIndex {
                name: None,
                unique: flag("unique"),
                elements: vec![IndexElement::Column(name.clone())],
                options: IndexOptions::default(),
            });
        } else if flag("unique") {
            definition.constraints.push(unnamed(ConstraintKind::Unique, columns()));
        }
        definition.generated = self.generated(type_.as_deref(), primary);
        let nullable = self
            .expr(&["nullable"], None)
            .map_or(!primary, |expr| self.scope.eval(expr).truth().unwrap_or(true));
        let unpacked = self.call.arguments.args.iter().any(Expr::is_starred_expr)
            || self.call.arguments.keywords.iter().any(|keyword| keyword.arg.is_none());
        if server_default.is_none()
            && (unpacked || primary && self.may_be_serial(type_.as_deref(), references))
        {
            server_default = Some(None);
        }
        definition.columns.push(Column { name, type_, nullable, server_default });
    }
}

/// What `unique=True` and `primary_key=True` of a column make.
fn unnamed(kind: ConstraintKind, columns: Vec<String>) -> Constraint {
    let inline =
        InlineConstraint { name: Arg::absent(), referent: None, condition: None, keywords: Vec::new() };
    let options = IndexOptions::default();
    Constraint { name: Value::None, kind, columns, condition: None, options, inline: Some(Ok(inline)) }
}

/// The table of `schema.table.column`, as SQLAlchemy's `ForeignKey` takes it.
fn referenced(column: &str) -> Option<TableName> {
    let (table, _) = column.rsplit_once('.')?;
    Some(match table.rsplit_once('.') {
        Some((schema, table)) => TableName::new(Some(schema), table),
        None => TableName::new(None, table),
    })
}

/// A server default as SQL: text is quoted.
fn sql(value: Value) -> Option<String> {
    match value {
        Value::Str(text) => Some(format!("'{}'", text.replace('\'', "''"))),
        Value::Sql(sql) => Some(sql),
        _ => None,
    }
}

/// Whether SQL is `column::type` or `CAST(column AS type)`.
fn is_cast_of(sql: &str, column: &str) -> bool {
    let sql = sql.trim();
    let (value, type_) = match sql.strip_suffix(')').and_then(|sql| sql.get(..5).map(|start| (start, sql))) {
        Some((start, sql)) if start.eq_ignore_ascii_case("cast(") => {
            let Some(at) = sql.to_ascii_lowercase().rfind(" as ") else { return false };
            (&sql[5..at], &sql[at + 4..])
        }
        _ => match sql.split_once("::") {
            Some(parts) => parts,
            None => return false,
        },
    };
    let value = value.trim();
    let is_type =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | ' ' | '.' | ',' | '(' | ')' | '[' | ']' | '"');
    // `a::timestamp AT TIME ZONE 'UTC'` has a type's letters up to the quote.
    (value == column || value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) == Some(column))
        && type_.chars().all(is_type)
        && !type_.to_ascii_lowercase().contains(" at ")
        && !type_.to_ascii_lowercase().contains(" collate ")
}

/// Keywords of `sa.ForeignKey` that `create_foreign_key` has, too.
const FOREIGN_KEY: &[&str] = &["onupdate", "ondelete", "deferrable", "initially", "match"];
/// Keywords of `sa.ForeignKey` that say nothing to a constraint that is added on its own.
const NOT_SQL: &[&str] = &["use_alter", "link_to_name", "info"];

impl Call<'_> {
    /// Read `sa.ForeignKey(…)` or `sa.CheckConstraint(…)` of a column.
    fn inline_constraint(&self, references: bool, columns: Vec<String>) -> Constraint {
        let name = self.arg(&["name"], (!references).then_some(1));
        Constraint {
            name: name.value.clone(),
            kind: if references { ConstraintKind::ForeignKey } else { ConstraintKind::Check },
            // A check need not be about its own column.
            columns: if references { columns } else { Vec::new() },
            condition: if references { None } else { self.condition(&["sqltext"], Some(0)) },
            options: IndexOptions::default(),
            inline: Some(self.on_its_own(references, name)),
        }
    }

    fn on_its_own(&self, references: bool, name: Arg) -> Result<InlineConstraint, String> {
        let known = if references { FOREIGN_KEY } else { &[] };
        let mut keywords = Vec::new();
        for keyword in &self.call.arguments.keywords {
            let given = keyword.arg.as_ref().map_or("**", |name| name.as_str());
            match known.iter().find(|name| **name == given) {
                Some(name) => keywords.push((*name, self.scope.arg(&keyword.value))),
                None if matches!(given, "name" | "column" | "sqltext") => {}
                None if NOT_SQL.contains(&given) => {}
                None => return Err(format!("`{given}` of its constraint is not known to another call")),
            }
        }
        let most = if references { 1 } else { 2 };
        if self.call.arguments.args.len() > most || self.call.arguments.args.iter().any(Expr::is_starred_expr)
        {
            return Err("the arguments of its constraint can't be read".to_owned());
        }
        let (mut referent, mut condition) = (None, None);
        if references {
            let target = self.arg(&["column"], Some(0));
            let (table, column) = target
                .as_str()
                .and_then(|target| target.rsplit_once('.'))
                .ok_or_else(|| "the column that it references is not given as text".to_owned())?;
            let (schema, table) = match table.rsplit_once('.') {
                Some((schema, table)) => (Some(schema.to_owned()), table),
                None => (None, table),
            };
            referent = Some((TableName { schema, name: table.to_owned() }, column.to_owned()));
        } else {
            condition = Some(self.arg(&["sqltext"], Some(0)));
        }
        Ok(InlineConstraint { name, referent, condition, keywords })
    }

    /// Where the values of this `sa.Column(…)` come from.
    fn generated(&self, type_: Option<&str>, primary: bool) -> Option<Generated> {
        for argument in self.call.arguments.args.iter().skip(1) {
            let Expr::Call(call) = argument else { continue };
            let inner =
                Call { call, scope: self.scope, module: self.module, modules: self.modules, batch: None };
            match callee(call) {
                Some("Identity") => return Some(Generated::Identity),
                Some("Computed") => return inner.flag("persisted").then_some(Generated::Stored),
                Some("ForeignKey") if primary => return None,
                _ => {}
            }
        }
        let Some(default) = self.expr(&["server_default"], None) else {
            let number = type_.map(|type_| type_.trim_end_matches("()"));
            let number = number.and_then(|type_| type_.rsplit('.').next());
            let integer = matches!(
                number,
                Some("Integer" | "INTEGER" | "BigInteger" | "BIGINT" | "SmallInteger" | "SMALLINT")
            );
            let counts = self
                .expr(&["autoincrement"], None)
                .is_none_or(|value| self.scope.eval(value).truth() == Some(true));
            return (primary && integer && counts).then_some(Generated::Serial);
        };
        let sql = match self.scope.eval(default) {
            Value::Sql(sql) => sql,
            _ => self.function(default)?,
        };
        let mut tokens = self.module.tokens().in_range(default.range()).iter();
        let repeatable = !tokens.any(|token| token.kind() == TokenKind::Comment);
        Some(Generated::Default { sql, default: repeatable.then(|| self.scope.arg(default)) })
    }

    /// `sa.func.gen_random_uuid()` as SQL.
    fn function(&self, expression: &Expr) -> Option<String> {
        let call = expression.as_call_expr()?;
        let function = call.func.as_attribute_expr()?;
        let is_func = match &*function.value {
            Expr::Name(name) => name.id.as_str() == "func",
            Expr::Attribute(attribute) => attribute.attr.as_str() == "func",
            _ => false,
        };
        let arguments = call.arguments.args.iter().map(|argument| match self.scope.eval(argument) {
            Value::Str(text) if !text.contains('\'') => Some(format!("'{text}'")),
            Value::Int(number) => Some(number.to_string()),
            Value::Sql(sql) => Some(sql),
            _ => None,
        });
        let arguments: Vec<_> = arguments.collect::<Option<_>>()?;
        (is_func && call.arguments.keywords.is_empty())
            .then(|| format!("{}({})", function.attr, arguments.join(", ")))
    }
}

fn index_element(value: Value) -> IndexElement {
    match value {
        Value::Str(name) => IndexElement::Column(name),
        Value::Sql(sql) => IndexElement::sql(&sql),
        _ => IndexElement::Expression(None),
    }
}

/// The last part of the called name: `Column` of `sa.Column(…)`.
pub(crate) fn callee(call: &ExprCall) -> Option<&str> {
    match &*call.func {
        Expr::Name(name) => Some(name.id.as_str()),
        Expr::Attribute(attribute) => Some(attribute.attr.as_str()),
        _ => None,
    }
}

/// Whether a call of a function only says something: `print(…)`, `log.info(…)`.
pub(crate) fn writes_log(function: &Expr) -> bool {
    match function {
        Expr::Name(name) => name.id.as_str() == "print",
        Expr::Attribute(attribute) => match &*attribute.value {
            Expr::Name(name) => matches!(
                name.id.trim_start_matches('_').to_ascii_lowercase().as_str(),
                "log" | "logger" | "logging" | "warnings"
            ),
            _ => false,
        },
        _ => false,
    }
}

/// Read the header of `with op.batch_alter_table(…)`.
pub(super) fn batch(call: &ExprCall, scope: &Scope, module: &Module) -> Batch {
    let reader = Call { call, scope, module, modules: None, batch: None };
    let recreate = reader.arg(&["recreate"], Some(2));
    let op = match &*call.func {
        Expr::Attribute(attribute) => module.text(&*attribute.value).to_owned(),
        _ => String::new(),
    };
    Batch {
        id: call.range(),
        table: reader.arg(&["table_name"], Some(0)),
        schema: reader.arg(&["schema"], Some(1)),
        op,
        recreated: !matches!(&recreate.value, Value::None)
            && !matches!(recreate.as_str(), Some("auto" | "never")),
    }
}

#[cfg(test)]
mod tests {
    use super::is_cast_of;

    #[test]
    fn casts_are_told_from_conversions() {
        for cast in
            ["a::integer", " \"a\" :: numeric(10, 2)", "CAST(a AS timestamp with time zone)", "a::text[]"]
        {
            assert!(is_cast_of(cast, "a"), "{cast}");
        }
        for other in [
            "a::integer + 1",
            "a * 2",
            "b::integer",
            "a::timestamp AT TIME ZONE 'UTC'",
            "a",
            "a::text::integer",
            "cast()",
            "",
        ] {
            assert!(!is_cast_of(other, "a"), "{other}");
        }
    }
}
