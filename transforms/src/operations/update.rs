//! `UPDATE`, as SQL text or as an SQLAlchemy statement: which rows, and whether it can be cut into
//! batches.

use ruff_python_ast::{CmpOp, Expr as Python, ExprCall, Operator};
use squawk_syntax::ast::{self, AstNode, BinOp, Expr, SetColumn, WhereClauseOrCurrentOf};

use super::calls::callee;
use super::{TableArg, Update, UpdateText, sql};
use crate::python::scope::Scope;
use crate::python::value::{Arg, Value};

/// Functions whose value is another one each time: in a second run, or in each batch.
const CHANGING: &[&str] = &[
    "now",
    "statement_timestamp",
    "transaction_timestamp",
    "current_timestamp",
    "current_date",
    "current_time",
    "localtime",
    "localtimestamp",
];

/// Functions of PostgreSQL and its extensions that are `VOLATILE`: a value of their own for each row.
pub(crate) const VOLATILE: &[&str] = &[
    "clock_timestamp",
    "gen_random_bytes",
    "gen_random_uuid",
    "gen_salt",
    "nextval",
    "random",
    "random_normal",
    "setval",
    "timeofday",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
    "uuidv4",
    "uuidv7",
];

/// Read a statement. `text` is the string that it was parsed from, parameters included.
pub(super) fn read(statement: &ast::Update, text: &str) -> Option<Update> {
    let relation = statement.relation_name()?;
    let name = sql::qualified(relation.relation_name_ref()?.syntax().text().to_string().trim());
    let condition = match statement.where_clause_or_current_of() {
        Some(WhereClauseOrCurrentOf::WhereClause(clause)) => Some(clause.expr()?),
        Some(WhereClauseOrCurrentOf::WhereCurrentOf(_)) => return None,
        None => None,
    };
    let source = Source(text);
    let mut pinned = Vec::new();
    let mut compared = Vec::new();
    if let Some(condition) = &condition {
        source.conjuncts(condition, &mut pinned, &mut compared);
    }
    let reason = if statement.returning_clause().is_some() {
        Some("its `RETURNING` asks for all rows at once")
    } else if statement.with_clause().is_some() {
        Some("its `WITH` is evaluated once for all rows")
    } else if statement.for_portion_of().is_some() {
        Some("its `FOR PORTION OF` adds rows")
    } else if has_parameters(source.of(statement)) {
        Some("it has parameters")
    } else {
        None
    };
    let sets = source.sets(statement);
    let words = words(source.of(statement));
    let text = match reason {
        Some(reason) => Err(reason.to_owned()),
        None => source.text(statement, &relation, &name.name, condition.as_ref(), &compared),
    };
    Some(Update { table: sql::known(&name), pinned, sets, words, text })
}

/// The string that a statement was parsed from; what was parsed is as long.
struct Source<'a>(&'a str);

impl Source<'_> {
    fn of(&self, node: &impl AstNode) -> &str {
        let range = node.syntax().text_range();
        self.0[usize::from(range.start())..usize::from(range.end())].trim()
    }

    /// The columns that are set; none, if one of them is not understood.
    fn sets(&self, statement: &ast::Update) -> Vec<String> {
        let list = statement.set_clause().and_then(|set| set.set_column_list());
        let columns = list.into_iter().flat_map(|list| list.set_columns()).map(|column| match column {
            SetColumn::SetSingleColumn(column) => Some(sql::identifier(self.of(&column.column_target()?))),
            SetColumn::SetMultipleColumns(_) => None,
        });
        columns.collect::<Option<_>>().unwrap_or_default()
    }

    fn text(
        &self,
        statement: &ast::Update,
        relation: &ast::RelationName,
        table: &str,
        condition: Option<&Expr>,
        compared: &[(String, Option<String>)],
    ) -> Result<UpdateText, String> {
        let unread = || "its `SET` could not be read".to_owned();
        let set = statement.set_clause().ok_or_else(unread)?;
        let mut columns = Vec::new();
        let mut values = Vec::new();
        for column in set.set_column_list().into_iter().flat_map(|list| list.set_columns()) {
            let SetColumn::SetSingleColumn(column) = column else {
                return Err("it sets several columns at once".to_owned());
            };
            let target = column.column_target().ok_or_else(unread)?;
            if target.accessors().next().is_some() {
                return Err("it sets a part of a column".to_owned());
            }
            columns.push(sql::identifier(self.of(&target)));
            values.push(self.of(&column.set_expr().ok_or_else(unread)?).to_owned());
        }
        let mut target = self.of(relation).to_owned();
        let alias = statement.alias().map(|alias| self.of(&alias).to_owned());
        if let Some(alias) = &alias {
            target = format!("{target} {alias}");
        }
        let whole = self.of(statement);
        let words = words(whole);
        let sources = statement.from_clause();
        if (sources.is_some() || words.iter().any(|word| word == "select"))
            && mentions_table(whole, table) > 1
        {
            return Err(format!("it reads other rows of `{table}`, which batches would change"));
        }
        let own = alias_name(alias.as_deref()).unwrap_or_else(|| table.to_lowercase());
        let reads_itself = values.iter().any(|value| reads(value, &columns, &own));
        let mut sets = words_of(&values);
        sets.extend(words_of(&sources.iter().map(|sources| self.of(sources).to_owned()).collect::<Vec<_>>()));
        let changes = sets.iter().any(|word| CHANGING.contains(&word.as_str()) || is_volatile(word));
        let fold = |text: &str| {
            fold(text).ok_or_else(|| "its text has comments or line breaks that would be lost".to_owned())
        };
        let literals: Vec<_> = columns
            .iter()
            .zip(&values)
            .filter_map(|(column, value)| Some((column.clone(), literal(value)?.to_owned())))
            .collect();
        let excludes_done = columns.iter().zip(&values).any(|(column, value)| {
            compared.iter().filter(|(name, _)| name == column).any(|(_, before)| match literal(value) {
                Some(value) => before.as_deref() != Some(value),
                None => before.is_none() && is_never_null(value),
            })
        });
        let mut reads = sets;
        reads.extend(condition.iter().flat_map(|condition| self::words(self.of(*condition))));
        let mut set = fold(self.of(&set))?;
        if let Some(sources) = &sources {
            set = format!("{set} {}", fold(self.of(sources))?);
        }
        Ok(UpdateText {
            target: fold(&target)?,
            aliased: alias.is_some(),
            row: sources
                .is_some()
                .then(|| alias.as_deref().map_or(self.of(relation), alias_spelled).to_owned()),
            set,
            condition: condition.map(|condition| fold(self.of(condition))).transpose()?,
            literals,
            compared: compared.to_vec(),
            reads,
            repeatable: excludes_done || !(reads_itself || changes),
            excludes_done,
        })
    }

    /// The columns that a condition pins to constants, and those that it compares with `NULL`
    /// (`None`) or a literal.
    fn conjuncts(
        &self,
        condition: &Expr,
        pinned: &mut Vec<String>,
        compared: &mut Vec<(String, Option<String>)>,
    ) {
        match condition {
            Expr::ParenExpr(inner) => {
                if let Some(inner) = inner.expr() {
                    self.conjuncts(&inner, pinned, compared);
                }
            }
            Expr::BinExpr(binary) => {
                let (Some(left), Some(right), Some(op)) = (binary.lhs(), binary.rhs(), binary.op()) else {
                    return;
                };
                match op {
                    BinOp::And(_) => {
                        self.conjuncts(&left, pinned, compared);
                        self.conjuncts(&right, pinned, compared);
                    }
                    BinOp::Eq(_) | BinOp::In(_) => {
                        for (name, value) in [(&left, &right), (&right, &left)] {
                            if let Some(column) = self.column(name)
                                && is_constant(self.of(value))
                            {
                                if let (BinOp::Eq(_), Some(value)) = (&op, literal(self.of(value))) {
                                    compared.push((column.clone(), Some(value.to_owned())));
                                }
                                pinned.push(column);
                            }
                        }
                    }
                    BinOp::Is(_) => {
                        if let Some(column) = self.column(&left)
                            && self.of(&right).eq_ignore_ascii_case("null")
                        {
                            compared.push((column, None));
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// `a`, `t.a`: the column.
    fn column(&self, expression: &Expr) -> Option<String> {
        let text = match expression {
            Expr::NameRef(_) => self.of(expression),
            Expr::FieldExpr(_) => self.of(expression).rsplit('.').next()?,
            _ => return None,
        };
        (!text.starts_with([':', '%'])).then(|| sql::identifier(text))
    }
}

/// An alias as it is spelled, without `AS`.
fn alias_spelled(alias: &str) -> &str {
    alias.split_whitespace().last().unwrap_or(alias)
}

/// The alias of a table, as PostgreSQL reads it.
fn alias_name(alias: Option<&str>) -> Option<String> {
    alias.map(|alias| sql::identifier(alias_spelled(alias)).to_lowercase())
}

/// Whether SQL reads one of the columns of the table that is called `own`, as far as their names tell.
fn reads(sql: &str, columns: &[String], own: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    pieces(sql).filter(|(is_sql, _)| *is_sql).any(|(_, piece)| {
        let piece = piece.to_lowercase().replace('"', "");
        let mut at = 0;
        while let Some(start) = piece[at..].find(is_word).map(|found| at + found) {
            let end = piece[start..].find(|c| !is_word(c)).map_or(piece.len(), |found| start + found);
            let before = piece[..start].strip_suffix('.');
            let qualifier = before.map(|before| before.rsplit(|c| !is_word(c)).next().unwrap_or_default());
            if columns.iter().any(|column| column.to_lowercase() == piece[start..end])
                && qualifier.is_none_or(|qualifier| qualifier == own)
            {
                return true;
            }
            at = end;
        }
        false
    })
}

/// A call of a function without arguments that always has a value: `now()`.
fn is_never_null(value: &str) -> bool {
    let value = value.trim().to_lowercase();
    let name = value.strip_suffix("()").unwrap_or(&value);
    CHANGING.contains(&name) || is_volatile(name)
}

/// Whether a word is the name of a function that gives each row a value of its own.
pub(crate) fn is_volatile(word: &str) -> bool {
    VOLATILE.contains(&word)
}

/// The one value that a text stands for, if it is a literal and not `NULL`.
fn literal(text: &str) -> Option<&str> {
    let value = text.trim();
    let number = value.parse::<f64>().is_ok() && value.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let boolean = value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false");
    let string = value.len() > 1
        && value.starts_with('\'')
        && value.ends_with('\'')
        && !value[1..value.len() - 1].contains('\'');
    (number || boolean || string).then_some(value)
}

/// Whether a text is the same for all rows: a literal, a parameter, a list of them, a query.
fn is_constant(text: &str) -> bool {
    let text = text.trim();
    let query = text.strip_prefix('(').is_some_and(|rest| words(rest).first().is_some_and(|w| w == "select"));
    let listed = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    let one = |text: &str| {
        let value = text.split("::").next().unwrap_or_default().trim();
        literal(value).is_some() || value.starts_with([':', '%'])
    };
    query || listed.split(',').all(one)
}

/// `:name`, as `sa.text()` understands it, or a driver's `%s` and `%(name)s`.
fn has_parameters(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    bytes.iter().enumerate().any(|(at, byte)| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        let after = bytes.get(at + 1);
        match byte {
            b':' => is_word(after) && !is_word(before) && !matches!(before, Some(b':' | b'\\')),
            b'%' => matches!(after, Some(b's' | b'(')),
            _ => false,
        }
    })
}

/// The parts of a text outside of quotes, and inside of double quotes.
fn pieces(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.split('\'').enumerate().map(|(index, piece)| (index % 2 == 0, piece))
}

/// The words of SQL text that are no strings, in lower case.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (_, piece) in pieces(text).filter(|(is_sql, _)| *is_sql) {
        let all = piece.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$');
        words.extend(all.filter(|word| !word.is_empty()).map(str::to_lowercase));
    }
    words
}

fn words_of(values: &[String]) -> Vec<String> {
    values.iter().flat_map(|value| words(value)).collect()
}

/// How often a table is named, other than as the qualifier of a column.
fn mentions_table(text: &str, table: &str) -> usize {
    let table = table.to_lowercase();
    pieces(text)
        .filter(|(is_sql, _)| *is_sql)
        .map(|(_, piece)| {
            let piece = piece.to_lowercase();
            let found = piece.match_indices(table.as_str());
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            found
                .filter(|(at, name)| {
                    let after = piece[at + name.len()..].trim_start_matches('"');
                    !piece[..*at].ends_with(is_word) && !after.starts_with(|c| is_word(c) || c == '.')
                })
                .count()
        })
        .sum()
}

/// One line: white space outside of strings becomes one space.
pub(crate) fn fold(text: &str) -> Option<String> {
    let mut line = String::new();
    for (is_sql, piece) in pieces(text) {
        if !is_sql {
            line.push('\'');
            line.push_str(piece);
            line.push('\'');
            continue;
        }
        if piece.contains("--") || piece.contains("/*") || piece.contains('$') {
            return None;
        }
        if piece.starts_with(char::is_whitespace) && !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&piece.split_whitespace().collect::<Vec<_>>().join(" "));
        if piece.ends_with(char::is_whitespace) && !piece.trim().is_empty() {
            line.push(' ');
        }
    }
    let line = line.trim();
    (!line.contains(char::is_control) && !line.contains("$$")).then(|| line.to_owned())
}

/// `users.update().where(users.c.id == 1)` and `sa.update(users)`, where `users` is a `sa.table(…)`.
pub(super) fn construct(statement: &Python, scope: &Scope) -> Option<Update> {
    let mut pinned = Vec::new();
    let mut call = statement.as_call_expr()?;
    loop {
        let method = callee(call)?;
        let owner = match &*call.func {
            Python::Attribute(attribute) => Some(&*attribute.value),
            _ => None,
        };
        if method == "update" {
            let function = call.arguments.args.first();
            for table in [owner, function].into_iter().flatten() {
                if let Value::Table { name, schema, .. } = scope.eval(table) {
                    conditions(call, &mut pinned);
                    let known = |text: String| Arg {
                        value: Value::Str(text),
                        range: None,
                        literal: false,
                        exact: true,
                        code: None,
                    };
                    let table =
                        TableArg { name: known(name), schema: schema.map_or_else(Arg::absent, known) };
                    let text = Err("it is built with SQLAlchemy, and not as SQL text".to_owned());
                    return Some(Update { table, pinned, sets: Vec::new(), words: Vec::new(), text });
                }
            }
        }
        conditions(call, &mut pinned);
        call = owner?.as_call_expr()?;
    }
}

/// The columns that a call's arguments pin.
fn conditions(call: &ExprCall, pinned: &mut Vec<String>) {
    if !matches!(callee(call), Some("where" | "filter" | "update")) {
        return;
    }
    let given = call.arguments.find_keyword("whereclause").map(|keyword| &keyword.value);
    for argument in call.arguments.args.iter().chain(given) {
        pins(argument, pinned);
    }
}

fn pins(condition: &Python, pinned: &mut Vec<String>) {
    match condition {
        Python::BinOp(both) if both.op == Operator::BitAnd => {
            pins(&both.left, pinned);
            pins(&both.right, pinned);
        }
        Python::Call(call) if callee(call) == Some("and_") => {
            for argument in &call.arguments.args {
                pins(argument, pinned);
            }
        }
        Python::Call(call) if callee(call) == Some("in_") => {
            if let Python::Attribute(attribute) = &*call.func {
                pinned.extend(table_column(&attribute.value));
            }
        }
        Python::Compare(compare) => {
            if let ([CmpOp::Eq], [right]) = (&*compare.ops, &*compare.comparators)
                && let Some(column) = table_column(&compare.left)
                && table_column(right).is_none()
            {
                pinned.push(column);
            }
        }
        _ => {}
    }
}

/// `users.c.id`, `users.c["id"]`.
fn table_column(expression: &Python) -> Option<String> {
    let is_columns = |owner: &Python| matches!(owner, Python::Attribute(attribute) if matches!(attribute.attr.as_str(), "c" | "columns"));
    match expression {
        Python::Attribute(attribute) if is_columns(&attribute.value) => Some(attribute.attr.to_string()),
        Python::Subscript(subscript) if is_columns(&subscript.value) => {
            subscript.slice.as_string_literal_expr().map(|name| name.value.to_str().to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::OperationKind;
    use super::*;
    use crate::python::text::Text;

    fn update(text: &str) -> Update {
        match sql::read(&Text::plain(text), text).pop().map(|part| part.kind) {
            Some(OperationKind::Update(update)) => update,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn text(sql: &str) -> UpdateText {
        update(sql).text.unwrap()
    }

    #[test]
    fn the_authors_text_is_kept_on_one_line() {
        let read =
            text("UPDATE \"Order\" AS o\n   SET a = 'x  y',\n       b = lower(o.c)\n WHERE o.a IS NULL;");
        assert_eq!(read.target, "\"Order\" AS o");
        assert_eq!(read.set, "SET a = 'x  y', b = lower(o.c)");
        assert_eq!(read.condition.as_deref(), Some("o.a IS NULL"));
        assert_eq!(read.literals, [("a".to_owned(), "'x  y'".to_owned())]);
        assert!(read.repeatable && read.excludes_done && read.aliased);
    }

    #[test]
    fn what_a_second_run_repeats_is_known() {
        for (sql, repeatable, excludes_done) in [
            ("UPDATE t SET a = 1", true, false),
            ("UPDATE t SET a = a + 1", false, false),
            ("UPDATE t SET a = 'B' WHERE a = 'A'", true, true),
            ("UPDATE t SET a = 'A' WHERE a = 'A'", true, false),
            ("UPDATE t SET a = now()", false, false),
            ("UPDATE t SET a = now() WHERE a IS NULL", true, true),
            ("UPDATE t SET a = now() WHERE b IS NULL", false, false),
            ("UPDATE t SET a = u.a", true, false),
            ("UPDATE t SET a = 2, b = b + 1 WHERE a IS NULL", true, true),
            ("UPDATE t SET a = b WHERE a IS NULL", true, false),
            ("UPDATE t SET a = 2 WHERE a IS NULL OR a = 1", true, false),
        ] {
            let read = text(sql);
            assert_eq!((read.repeatable, read.excludes_done), (repeatable, excludes_done), "{sql}");
        }
    }

    #[test]
    fn what_a_later_update_changes_is_known() {
        for (first, later, changed) in [
            ("SET v = -1 WHERE v IN (1, 2)", "SET v = 1 WHERE v IN (3, 4)", true),
            ("SET a = b", "SET b = NULL", true),
            ("SET a = 0, b = 1 WHERE a = 0", "SET a = 0, b = 2 WHERE a = 1", true),
            ("SET a = 'b' WHERE a = 'a'", "SET a = 'c' WHERE a = 'b'", false),
            ("SET a = true WHERE kind = 'x'", "SET a = false WHERE a IS NULL", false),
            ("SET a = 'x'", "SET a = 'y' WHERE b = 1", false),
            ("SET a = 'x'", "SET a = 'y', b = 2 WHERE b = 1", true),
            ("SET a = u.a FROM u WHERE u.id = t.u_id", "SET b = 1", false),
            ("SET a = u.a FROM u WHERE u.id = t.u_id", "SET u_id = NULL", true),
        ] {
            let (one, two) = (update(&format!("UPDATE t {first}")), update(&format!("UPDATE t {later}")));
            assert_eq!(one.is_changed_by(&two), changed, "{first}; {later}");
        }
    }

    #[test]
    fn columns_are_pinned_by_constants_only() {
        for (condition, pinned) in [
            ("id = 1", &["id"][..]),
            ("t.id = :id AND b > 2", &["id"]),
            ("(id IN (1, 2)) AND b = 'x'", &["id", "b"]),
            ("id = (SELECT max(id) FROM u)", &["id"]),
            ("id = other", &[]),
            ("id = 1 OR b = 2", &[]),
            ("id > 1", &[]),
        ] {
            assert_eq!(
                update(&format!("UPDATE t SET a = 1 WHERE {condition}")).pinned,
                pinned,
                "{condition}"
            );
        }
    }

    #[test]
    fn what_batches_would_change_has_a_reason() {
        for sql in [
            "UPDATE t SET a = u.a FROM t AS u WHERE u.parent_id = t.id",
            "UPDATE t SET a = u.a FROM (SELECT max(a) AS a FROM t) AS u",
            "UPDATE t SET a = 1 RETURNING id",
            "WITH u AS (SELECT 1) UPDATE t SET a = 1",
            "UPDATE t SET a = :a",
            "UPDATE t SET a = %s",
            "UPDATE t SET a = (SELECT max(b) FROM t)",
            "UPDATE t SET (a, b) = (1, 2)",
            "UPDATE t SET a = 1 -- why\n",
        ] {
            let reason = update(sql).text;
            assert!(reason.is_err() || sql.contains("--"), "{sql}: {reason:?}");
        }
        assert!(update("UPDATE t SET a = (SELECT u.a FROM u WHERE u.id = t.u_id)").text.is_ok());
        assert!(update("UPDATE t SET a = '12:30', b = c::text").text.is_ok());
    }

    #[test]
    fn joined_tables_go_with_the_set() {
        let read = text("UPDATE s.t SET a = u.a\nFROM u\nWHERE u.id = t.u_id");
        assert_eq!(read.set, "SET a = u.a FROM u");
        assert_eq!(read.row.as_deref(), Some("s.t"));
        assert!(read.repeatable);
        let read = text("UPDATE t AS x SET a = x.a + u.a FROM u WHERE u.id = x.u_id");
        assert_eq!(read.row.as_deref(), Some("x"));
        assert!(!read.repeatable);
        assert!(!text("UPDATE t SET a = v.n FROM (SELECT nextval('s') AS n) AS v").repeatable);
    }
}
