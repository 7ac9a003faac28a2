//! Edits inside of one call, and the lines around it.

use ruff_python_ast::token::{Token, TokenKind, parenthesized_range};
use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr, ExprCall, Stmt};
use ruff_python_codegen::{Generator, Stylist};
use ruff_python_parser::parse_expression;
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::helpers::Helper;
use super::support::Alias;
use crate::operations::{Batch, ConstraintKind, TableArg, callee};
use crate::python::Module;
use crate::python::edit::{self, Edit, Renderer};
use crate::python::value::Arg;
use crate::recipe::{Action, Argument, Backfill, BackfillKey, Call, Change, Name, Recipe, Step};

/// Prints and edits in the style of one file.
pub(super) struct Printer<'a> {
    pub(super) module: &'a Module,
    pub(super) renderer: &'a Renderer<'a>,
    pub(super) stylist: &'a Stylist<'a>,
    /// The quotes for new strings.
    pub(super) quote: char,
    /// The module that has the helper functions, where the file does not have them itself.
    pub(super) support: Option<&'a Alias>,
}

/// The statements that stand before and after the author's own in a recipe.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What has to happen before any condition around the author's call is looked at.
    pub(super) first: Vec<String>,
    pub(super) before: Vec<String>,
    pub(super) after: Vec<String>,
    /// What follows the block, in the migration's transaction.
    pub(super) behind: Vec<String>,
    /// What is left of the author's call; `None` when another statement takes its place.
    pub(super) keeps_call: bool,
    pub(super) helpers: Vec<Helper>,
}

impl Lines {
    /// Whether another plan does everything.
    pub(super) fn is_empty(&self) -> bool {
        !self.keeps_call
            && [&self.first, &self.before, &self.after, &self.behind].iter().all(|lines| lines.is_empty())
    }
}

impl<'a> Printer<'a> {
    pub(super) fn new(renderer: &'a Renderer<'a>, stylist: &'a Stylist<'a>, module: &'a Module) -> Self {
        Self { module, renderer, stylist, quote: stylist.quote().as_char(), support: None }
    }
}
/// Whether an argument means the same before any condition is looked at.
pub(super) type Known<'a> = dyn Fn(&Arg) -> bool + 'a;

impl Printer<'_> {
    /// How a helper function is called. What the file has from an earlier rewrite stays in use.
    pub(super) fn function(&self, helper: Helper) -> String {
        match self.support {
            Some(alias) if !self.defines(helper) => format!("{}.{}", alias.name, helper.spelled()),
            _ => helper.name().to_owned(),
        }
    }

    /// Whether the file has a function of a helper's name.
    pub(super) fn defines(&self, helper: Helper) -> bool {
        let is_its = |statement: &Stmt| matches!(statement, Stmt::FunctionDef(function) if function.name.as_str() == helper.name());
        self.module.body().iter().any(is_its)
    }

    /// A string literal in the author's quotes.
    pub(super) fn string(&self, text: &str) -> String {
        let preferred = self.quote;
        let other = if preferred == '"' { '\'' } else { '"' };
        let quote = if text.contains(preferred) && !text.contains(other) { other } else { preferred };
        let mut literal = String::from(quote);
        for c in text.chars() {
            if c == quote || c == '\\' {
                literal.push('\\');
            }
            literal.push(c);
        }
        literal.push(quote);
        self.expression(&literal)
    }

    /// New code, printed by ruff's generator; kept as it is should the generator not manage it.
    fn expression(&self, code: &str) -> String {
        match parse_expression(code) {
            Ok(parsed) => {
                Generator::new(self.stylist.indentation(), self.stylist.line_ending()).expr(parsed.expr())
            }
            Err(_) => code.to_owned(),
        }
    }

    /// An argument to repeat, as its author wrote it.
    pub(super) fn argument(&self, arg: &Arg) -> String {
        match (&arg.range, arg.as_str()) {
            _ if let Some(code) = &arg.code => code.clone(),
            (Some(range), _) => self.on_one_line(*range),
            (None, Some(text)) => self.string(text),
            (None, None) => "None".to_owned(),
        }
    }

    /// An expression that its author spread over several lines, on one; unless the lines are those of a text.
    fn on_one_line(&self, range: TextRange) -> String {
        let text = self.without_op_f(range);
        let is_text = |kind| matches!(kind, TokenKind::String | TokenKind::FStringMiddle);
        let mut tokens = self.module.tokens().in_range(range).iter();
        if !text.contains(['\n', '\r'])
            || tokens
                .any(|token| is_text(token.kind()) && self.module.source().contains_line_break(token.range()))
        {
            return text;
        }
        self.expression(&format!("({text})"))
    }

    /// The author's expression; `op.f(…)` around it says nothing to a helper, and `batch_op` may be
    /// out of scope there.
    fn without_op_f(&self, range: TextRange) -> String {
        let text = self.module.text(range);
        let inner = parse_expression(text).ok().and_then(|parsed| match parsed.expr() {
            Expr::Call(call) => match (&*call.func, &*call.arguments.args) {
                (Expr::Attribute(attribute), [name]) if attribute.attr.as_str() == "f" => Some(name.range()),
                _ => None,
            },
            _ => None,
        });
        inner.map_or(text, |inner| &text[inner]).to_owned()
    }

    fn name(&self, name: &Name) -> String {
        match name {
            Name::Given(arg) => self.argument(arg),
            Name::Chosen(text) => self.string(text),
        }
    }

    /// The statements of a recipe.
    ///
    /// # Errors
    /// A condition that asks the database decides whether the call is made, and what it would have to be told is
    /// not known outside of it.
    #[expect(clippy::too_many_lines, reason = "one arm per kind of action")]
    pub(super) fn lines(&self, op: &str, recipe: &Recipe, guard: Option<&Known>) -> Result<Lines, String> {
        let guarded = guard.is_some();
        let mut lines = Lines::default();
        let mut seen_call = false;
        for step in &recipe.steps {
            let statement = match &step.action {
                Action::Original(_) => {
                    seen_call = true;
                    lines.keeps_call = true;
                    continue;
                }
                Action::LeaveOut => continue,
                Action::DropInvalidIndex { index, schema } => {
                    self.helper(&mut lines, Helper::DropInvalidIndex, &[self.name(index)], schema, "")
                }
                Action::DropIndex { index, schema } => {
                    // `rules` gives this step for names that are known only.
                    let sql = format!(
                        "DROP INDEX CONCURRENTLY IF EXISTS {}",
                        qualified(schema.as_str(), index.value().unwrap_or_default())
                    );
                    self.execute(op, &sql)
                }
                Action::DropConstraint { table, name } if guarded && step.for_rerun && !is_ours(name) => {
                    self.constraint_helper(&mut lines, Helper::DropNotValidConstraint, table, name)
                }
                Action::DropConstraint { table, name } => match literal(table, name) {
                    Some((table, name)) => {
                        self.execute(op, &format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}"))
                    }
                    None => self.constraint_helper(&mut lines, Helper::DropConstraint, table, name),
                },
                Action::ValidateConstraint { table, name } => match literal(table, name) {
                    Some((table, name)) => {
                        self.execute(op, &format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}"))
                    }
                    None => self.constraint_helper(&mut lines, Helper::ValidateConstraint, table, name),
                },
                Action::AddNotNull { table, column, name, native } => {
                    // `rules` gives these steps for names that are spelled out only.
                    let (table, name) = literal(table, name).unwrap_or_default();
                    let column = quoted(column.as_str().unwrap_or_default());
                    let constraint = if *native {
                        format!("NOT NULL {column}")
                    } else {
                        format!("CHECK ({column} IS NOT NULL)")
                    };
                    self.execute(
                        op,
                        &format!("ALTER TABLE {table} ADD CONSTRAINT {name} {constraint} NOT VALID"),
                    )
                }
                Action::UsingIndex { kind, table, name, attributes, once: true }
                    if literal(table, name).is_some() =>
                {
                    let (table, name) = literal(table, name).unwrap_or_default();
                    let sql = format!(
                        "ALTER TABLE {table} ADD CONSTRAINT {name} {} USING INDEX {name} {attributes}",
                        if *kind == ConstraintKind::PrimaryKey { "PRIMARY KEY" } else { "UNIQUE" }
                    );
                    self.execute(op, sql.trim_end())
                }
                Action::UsingIndex { kind, table, name, attributes, .. } => {
                    let helper = match kind {
                        ConstraintKind::PrimaryKey => Helper::AddPrimaryKeyUsingIndex,
                        _ => Helper::AddUniqueUsingIndex,
                    };
                    let more = if attributes.is_empty() {
                        String::new()
                    } else {
                        format!(", attributes={}", self.string(attributes))
                    };
                    let arguments = [self.name(name), self.argument(&table.name)];
                    self.helper(&mut lines, helper, &arguments, &table.schema, &more)
                }
                Action::Backfill(backfill) => self.backfill(&mut lines, backfill),
                Action::Execute(sql) => self.execute(op, sql),
                Action::Call(call) => self.new_call(op, call),
                Action::SetDefault { table, column, default } => {
                    self.alter_column(op, table, &Arg::of(column), "server_default", &self.argument(default))
                }
                Action::SetNotNull { table, column } => {
                    self.alter_column(op, table, column, "nullable", "False")
                }
                Action::ChangeTypes { table, columns, step } => {
                    self.change_types(&mut lines, op, table, columns, step)?
                }
                Action::ProveNotNull { .. } if guarded => {
                    return Err(
                        "a condition may take the constraint of an interrupted run for done".to_owned()
                    );
                }
                Action::ProveNotNull { table, column } => {
                    let names = [self.argument(&table.name), self.argument(column)];
                    self.helper(&mut lines, Helper::ProveNotNull, &names, &table.schema, "")
                }
                Action::DropNotNullProof { table, column } => {
                    let names = [self.argument(&table.name), self.argument(column)];
                    self.helper(&mut lines, Helper::DropNotNullProof, &names, &table.schema, "")
                }
                Action::RenameColumn { table, column, new_name } => {
                    let new_name = self.argument(new_name);
                    lines.behind.push(self.alter_column(op, table, column, "new_column_name", &new_name));
                    continue;
                }
            };
            if let Some(is_known) = guard
                && is_left_behind(step, is_known)?
            {
                lines.first.push(statement);
            } else if seen_call {
                lines.after.push(statement);
            } else {
                lines.before.push(statement);
            }
        }
        Ok(lines)
    }

    pub(super) fn execute(&self, op: &str, sql: &str) -> String {
        format!("{op}.execute({})", self.string(sql))
    }

    fn backfill(&self, lines: &mut Lines, backfill: &Backfill) -> String {
        let mut arguments = vec![self.string(&backfill.table)];
        let helper = match &backfill.key {
            BackfillKey::Columns(columns) => {
                let row = backfill.row.as_ref().map(|row| format!("{row}.")).unwrap_or_default();
                let key: Vec<_> = columns.iter().map(|column| format!("{row}{}", quoted(column))).collect();
                arguments.push(self.string(&key.join(", ")));
                Helper::Backfill
            }
            BackfillKey::Place => Helper::BackfillByPlace,
        };
        arguments.push(self.string(&backfill.set));
        arguments.extend(backfill.condition.as_ref().map(|sql| format!("where={}", self.string(sql))));
        lines.helpers.push(helper);
        format!("{}({})", self.function(helper), arguments.join(", "))
    }

    fn alter_column(&self, op: &str, table: &TableArg, column: &Arg, keyword: &str, value: &str) -> String {
        let schema = self.schema(&table.schema);
        let (table, column) = (self.argument(&table.name), self.argument(column));
        format!("{op}.alter_column({table}, {column}, {keyword}={value}{schema})")
    }

    fn new_call(&self, op: &str, call: &Call) -> String {
        let positional = call.arguments.iter().map(|argument| self.new_argument(op, argument));
        let keywords = call.keywords.iter();
        let keywords =
            keywords.map(|(keyword, argument)| format!("{keyword}={}", self.new_argument(op, argument)));
        let arguments: Vec<_> = positional.chain(keywords).collect();
        format!("{op}.{}({})", call.method, arguments.join(", "))
    }

    fn new_argument(&self, op: &str, argument: &Argument) -> String {
        match argument {
            Argument::Given(arg) if arg.exact => format!("{op}.f({})", self.argument(arg)),
            Argument::Given(arg) => self.argument(arg),
            Argument::Exact(name) => format!("{op}.f({})", self.string(name)),
            Argument::Text(text) => self.string(text),
            Argument::Texts(texts) => {
                let texts: Vec<_> = texts.iter().map(|text| self.string(text)).collect();
                format!("[{}]", texts.join(", "))
            }
            Argument::Code(code) => (*code).to_owned(),
        }
    }

    fn constraint_helper(&self, lines: &mut Lines, helper: Helper, table: &TableArg, name: &Name) -> String {
        self.helper(lines, helper, &[self.name(name), self.argument(&table.name)], &table.schema, "")
    }

    pub(super) fn helper(
        &self,
        lines: &mut Lines,
        helper: Helper,
        arguments: &[String],
        schema: &Arg,
        more: &str,
    ) -> String {
        lines.helpers.push(helper);
        let schema = self.schema(schema);
        format!("{}({}{schema}{more})", self.function(helper), arguments.join(", "))
    }

    /// `, schema=…`, unless there is none.
    fn schema(&self, schema: &Arg) -> String {
        if schema.is_left_out() { String::new() } else { format!(", schema={}", self.argument(schema)) }
    }

    /// The edits that a recipe makes inside of the author's call.
    ///
    /// # Errors
    /// Why the call can't be edited.
    pub(super) fn edits(
        &self,
        op: &str,
        call: &ExprCall,
        change: &Change,
        name: Option<&Arg>,
        batch: Option<&Batch>,
    ) -> Result<Vec<Edit>, String> {
        let mut edits = Vec::new();
        let Expr::Attribute(attribute) = &*call.func else {
            if let Some(method) = change.method {
                edits.push(edit::replace(call.func.range(), format!("{op}.{method}")));
            }
            return self.finish(call, change, name, Vec::new(), edits);
        };
        let mut keywords = Vec::new();
        if let Some(method) = change.method {
            edits.push(edit::replace(attribute.attr.range(), method));
        }
        if let Some(batch) = batch {
            edits.push(edit::replace(attribute.value.range(), batch.op.as_str()));
            let Expr::Name(variable) = &*attribute.value else {
                return Err("the batch block's object has no name of its own".to_owned());
            };
            let mut uses = BatchUses { name: variable.id.as_str(), replace: Vec::new(), other: false };
            for argument in call.arguments.iter_source_order() {
                uses.visit_expr(argument.value());
            }
            if uses.other {
                return Err(format!("its arguments use `{}`, which is gone outside of the block", uses.name));
            }
            self.table_argument(call, attribute.attr.as_str(), batch, &mut edits, &mut keywords);
            let mut edits = self.finish(call, change, name, keywords, edits)?;
            let is_gone = |range: TextRange, edits: &[Edit]| {
                edits.iter().any(|edit| edit.range().contains_range(range) && edit.range() != range)
            };
            for range in uses.replace {
                if !is_gone(range, &edits) {
                    edits.push(edit::replace(range, batch.op.as_str()));
                }
            }
            return Ok(edits);
        }
        self.finish(call, change, name, keywords, edits)
    }

    /// `batch_op.create_index("ix", ["a"])` → `op.create_index("ix", "t", ["a"])`.
    fn table_argument(
        &self,
        call: &ExprCall,
        method: &str,
        batch: &Batch,
        edits: &mut Vec<Edit>,
        keywords: &mut Vec<(&'static str, String)>,
    ) {
        let (table_keyword, schema_keyword) = match method {
            "create_foreign_key" => ("source_table", "source_schema"),
            _ => ("table_name", "schema"),
        };
        let table = self.argument(&batch.table);
        let positional = call.arguments.args.len();
        if method == "drop_index" || positional == 0 {
            keywords.push((table_keyword, table));
        } else if matches!(method, "add_column" | "alter_column") {
            edits.push(edit::insert(call.arguments.args[0].start(), format!("{table}, ")));
        } else {
            let first = &call.arguments.args[0];
            let end = parenthesized_range(first.into(), (&call.arguments).into(), self.module.tokens())
                .unwrap_or(first.range())
                .end();
            edits.push(edit::insert(end, format!(", {table}")));
        }
        if !batch.schema.is_left_out() {
            keywords.push((schema_keyword, self.argument(&batch.schema)));
        }
    }

    fn finish(
        &self,
        call: &ExprCall,
        change: &Change,
        name: Option<&Arg>,
        mut append: Vec<(&'static str, String)>,
        mut edits: Vec<Edit>,
    ) -> Result<Vec<Edit>, String> {
        if let Some(chosen) = &change.name {
            match name.and_then(|name| name.range) {
                Some(range) => edits.push(edit::replace(range, self.string(chosen))),
                None => return Err("its name is not given as an argument".to_owned()),
            }
        }
        for keyword in &change.remove {
            if let Some(keyword) = call.arguments.find_keyword(keyword) {
                edits.push(self.without(keyword.range())?);
            }
        }
        for argument in &call.arguments.args {
            if let Expr::Call(inner) = argument
                && callee(inner).is_some_and(|name| change.remove_calls.contains(&name))
            {
                let range =
                    parenthesized_range(argument.into(), (&call.arguments).into(), self.module.tokens());
                edits.push(self.without(range.unwrap_or(argument.range()))?);
            }
        }
        for (from, to) in &change.rename {
            if let Some(name) = call.arguments.find_keyword(from).and_then(|keyword| keyword.arg.as_ref()) {
                edits.push(edit::replace(name.range(), *to));
            }
        }
        for (keyword, value) in &change.set {
            match call.arguments.find_keyword(keyword) {
                Some(given) => edits.push(edit::replace(given.value.range(), *value)),
                None => append.push((*keyword, (*value).to_owned())),
            }
        }
        if let Some(keep) = change.keep_columns {
            edits.push(self.keep_columns(call, keep)?);
        }
        if let Some(change) = &change.column {
            let mut arguments = call.arguments.iter_source_order();
            let column = arguments.find_map(|argument| argument.value().as_call_expr());
            let column = column.ok_or_else(|| "its column is not spelled out in the call".to_owned())?;
            edits.extend(self.finish(column, change, None, Vec::new(), Vec::new())?);
        }
        edits.extend(self.append(call, &append));
        Ok(edits)
    }

    /// `["a", "b", "c"]` → `["a", "b"]`.
    fn keep_columns(&self, call: &ExprCall, keep: usize) -> Result<Edit, String> {
        let columns = call.arguments.iter_source_order().find_map(|argument| match argument.value() {
            Expr::List(list) => Some((&list.elts, list.end())),
            Expr::Tuple(tuple) => Some((&tuple.elts, tuple.end())),
            _ => None,
        });
        let kept =
            columns.filter(|(list, _)| !list.iter().any(Expr::is_starred_expr)).and_then(|(list, end)| {
                let (last, behind) = (list.get(keep.checked_sub(1)?)?, list.last()?);
                Some((TextRange::new(last.end(), behind.end()), end))
            });
        let (range, end) = kept.ok_or_else(|| "its columns are not spelled out in the call".to_owned())?;
        let behind = self.module.tokens().in_range(TextRange::new(range.start(), end));
        if behind.iter().any(|token| token.kind() == TokenKind::Comment) {
            return Err("there are comments among its columns".to_owned());
        }
        Ok(edit::replace(range, ""))
    }

    /// Take out an argument, with the comma in front of it; where a comment stands in between, with
    /// the comma behind it, and its line where nothing else is left there.
    pub(super) fn without(&self, argument: TextRange) -> Result<Edit, String> {
        let has_comment = |range| {
            self.module.tokens().in_range(range).iter().any(|token| token.kind() == TokenKind::Comment)
        };
        let comma =
            |token: Option<&Token>| token.filter(|token| token.kind() == TokenKind::Comma).map(Ranged::range);
        let before = self.module.tokens().before(argument.start());
        let before = comma(before.iter().rev().find(|token| !token.kind().is_trivia()));
        let range = TextRange::new(before.map_or(argument.start(), TextRange::start), argument.end());
        if !has_comment(range) {
            return Ok(edit::replace(range, ""));
        }
        if has_comment(argument) {
            return Err("there are comments inside of what would be taken out of its call".to_owned());
        }
        let after = self.module.tokens().after(argument.end());
        let after = comma(after.iter().find(|token| !token.kind().is_trivia()));
        let end = after.map_or(argument.end(), TextRange::end);
        let line_end = self.renderer.line_end(end);
        let source = self.module.source();
        let alone = self.renderer.starts_line(argument.start())
            && source[TextRange::new(end, line_end)].trim().is_empty();
        let range = if alone {
            let above = source.line_start(argument.start()) - TextSize::from(1);
            TextRange::new(self.renderer.line_end(above), line_end)
        } else {
            TextRange::new(argument.start(), end)
        };
        Ok(edit::replace(range, ""))
    }

    /// Append keywords to a call: on the last line of its arguments, or on lines of their own where
    /// the closing parenthesis stands on one of its own.
    pub(super) fn append(&self, call: &ExprCall, keywords: &[(&str, String)]) -> Vec<Edit> {
        if keywords.is_empty() {
            return Vec::new();
        }
        let source = self.module.source();
        let close = call.end() - TextSize::from(1);
        let inside = TextRange::new(call.arguments.start() + TextSize::from(1), close);
        let tokens = self.module.tokens().in_range(inside);
        let texts: Vec<_> = keywords.iter().map(|(keyword, value)| format!("{keyword}={value}")).collect();
        let Some(last) = tokens.iter().rev().find(|token| !token.kind().is_trivia()) else {
            return vec![edit::insert(close, texts.join(", "))];
        };
        let comma = last.kind() == TokenKind::Comma;
        let own_line = source.contains_line_break(TextRange::new(last.end(), close));
        if !own_line {
            let text = texts.join(", ");
            let text = if comma { format!(" {text},") } else { format!(", {text}") };
            return vec![edit::insert(last.end(), text)];
        }
        let newline = self.renderer.newline();
        let argument = call
            .arguments
            .iter_source_order()
            .last()
            .map_or(last.start(), |argument| argument.range().start());
        let indentation = if self.renderer.starts_line(argument) {
            self.renderer.indentation(argument).to_owned()
        } else {
            format!("{}{}", self.renderer.indentation(call.start()), self.stylist.indentation().as_str())
        };
        let mut edits = Vec::new();
        if !comma {
            edits.push(edit::insert(last.end(), ","));
        }
        let start = format!("{newline}{indentation}");
        let text = format!("{start}{},", texts.join(&format!(",{start}")));
        edits.push(edit::insert(self.renderer.line_end(last.end()), text));
        edits
    }
}

/// Where the arguments of a batch operation use the block's object.
struct BatchUses<'a> {
    name: &'a str,
    /// `batch_op` of `batch_op.f(…)`.
    replace: Vec<TextRange>,
    other: bool,
}

impl<'a> Visitor<'a> for BatchUses<'_> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Attribute(attribute) if attribute.attr.as_str() == "f" => match &*attribute.value {
                Expr::Name(name) if name.id.as_str() == self.name => self.replace.push(name.range()),
                inner => walk_expr(self, inner),
            },
            Expr::Name(name) => self.other |= name.id.as_str() == self.name,
            _ => walk_expr(self, expr),
        }
    }
}

/// Whether a step does away with what `if "ix" not in indexes:` would take for done.
fn is_left_behind(step: &Step, is_known: &Known) -> Result<bool, String> {
    let (name, table, what) = match &step.action {
        Action::DropInvalidIndex { index, .. } => (index, None, "INVALID index of an interrupted build"),
        Action::DropConstraint { table, name } if step.for_rerun => {
            (name, Some(&table.name), "constraint of an interrupted run")
        }
        _ => return Ok(false),
    };
    let known = match name {
        Name::Chosen(_) => true,
        Name::Given(arg) => arg.literal || is_known(arg),
    };
    if !known || table.is_some_and(|table| !table.is_spelled_out() && !is_known(table)) {
        return Err(format!("a condition may take the {what} for done"));
    }
    Ok(true)
}

/// Whether a constraint is one that no other program makes.
fn is_ours(name: &Name) -> bool {
    matches!(name, Name::Chosen(name) if name.starts_with("safemig_"))
}

/// Table and constraint as SQL, when both are spelled as literals.
fn literal(table: &TableArg, name: &Name) -> Option<(String, String)> {
    let known = match name {
        Name::Given(arg) => arg.is_spelled_out(),
        Name::Chosen(_) => true,
    };
    if !known || !table.name.is_spelled_out() || !table.schema.is_spelled_out() {
        return None;
    }
    let table = qualified(table.schema.as_str(), table.name.as_str()?);
    Some((table, quoted(name.value()?)))
}

pub(crate) fn qualified(schema: Option<&str>, name: &str) -> String {
    match schema {
        Some(schema) => format!("{}.{}", quoted(schema), quoted(name)),
        None => quoted(name),
    }
}

/// An identifier as SQL, quoted only where it must be.
pub(crate) fn quoted(name: &str) -> String {
    let mut chars = name.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Words that can't be names without quotes. Source: PostgreSQL manual, appendix C, "SQL Key Words":
/// reserved, and reserved except as function or type name.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];
