//! How the steps of a type change are written: calls of the functions in `type_change`.

use super::call::{Lines, Printer, qualified, quoted};
use super::helpers::Helper;
use crate::catalog::Index;
use crate::operations::{IndexElement, TableArg, sql};
use crate::recipe::{BackfillKey, TypeChange, TypeStep};

impl Printer<'_> {
    /// The call of the function for a step.
    ///
    /// # Errors
    /// An index can't be spelled out.
    pub(super) fn change_types(
        &self,
        lines: &mut Lines,
        op: &str,
        table: &TableArg,
        changes: &[TypeChange],
        step: &TypeStep,
    ) -> Result<String, String> {
        let texts = |names: &mut dyn Iterator<Item = &str>| {
            let names: Vec<_> = names.map(|name| self.string(name)).collect();
            format!("[{}]", names.join(", "))
        };
        let dict = |value: fn(&TypeChange) -> Option<&str>| {
            let items = changes.iter().filter_map(|change| {
                Some(format!("{}: {}", self.string(&change.column), self.string(value(change)?)))
            });
            let items: Vec<_> = items.collect();
            (!items.is_empty()).then(|| format!("{{{}}}", items.join(", ")))
        };
        let using = || dict(|change| change.using.as_deref());
        let with_using = || using().map(|using| format!(", using={using}")).unwrap_or_default();
        let columns = texts(&mut changes.iter().map(|change| change.column.as_str()));
        let mut arguments = vec![self.argument(&table.name), columns];
        let mut more = String::new();
        let helper = match step {
            TypeStep::Start { indexes } => {
                arguments.pop();
                arguments.extend(dict(|change| Some(&change.type_)));
                arguments.push(texts(&mut indexes.iter().map(String::as_str)));
                more = with_using();
                Helper::StartTypeChange
            }
            TypeStep::Fill { key: BackfillKey::Columns(columns) } => {
                let key: Vec<_> = columns.iter().map(|column| quoted(column)).collect();
                arguments.push(self.string(&key.join(", ")));
                more = with_using();
                Helper::FillNewColumns
            }
            TypeStep::Fill { key: BackfillKey::Place } => {
                more = with_using();
                Helper::FillNewColumnsByPlace
            }
            TypeStep::CopyIndex { name, index, columns } => {
                let definition = definition(index, columns)
                    .ok_or_else(|| format!("the index `{name}` is not known in all its parts"))?;
                arguments.pop();
                arguments.insert(0, self.string(name));
                arguments.push(texts(&mut columns.iter().map(String::as_str)));
                arguments.push(self.string(&definition));
                if index.unique {
                    ", unique=True".clone_into(&mut more);
                }
                Helper::CopyIndex
            }
            TypeStep::CopyConstraints => Helper::CopyConstraints,
            TypeStep::Analyze => {
                let table = qualified(table.schema.as_str(), table.name.as_str().unwrap_or_default());
                return Ok(self.execute(op, &format!("ANALYZE {table}")));
            }
            TypeStep::Switch => {
                let two_way: Vec<_> = changes.iter().filter(|change| change.two_way).collect();
                if !two_way.is_empty() {
                    let two_way = texts(&mut two_way.iter().map(|change| change.column.as_str()));
                    more = format!(", two_way={two_way}");
                }
                Helper::SwitchColumns
            }
            TypeStep::DropOld => Helper::DropOldColumns,
        };
        Ok(self.helper(lines, helper, &arguments, &table.schema, &more))
    }
}

/// What follows the table's name when an index is created with the new columns in the place of the old ones; `None`
/// when it is not known in all its parts, or would mean something else in another statement.
pub(crate) fn definition(index: &Index, columns: &[String]) -> Option<String> {
    let options = index.options.known()?;
    let renamed = |name: &str| quoted(&new_name(name, columns).unwrap_or_else(|| name.to_owned()));
    let class = |name: &str| {
        let class = options.operator_class(name);
        class.map(|class| format!(" {class}")).unwrap_or_default()
    };
    let elements = index.elements.iter().map(|element| match element {
        IndexElement::Column(name) => Some(format!("{}{}", renamed(name), class(name))),
        IndexElement::Expression(sql) => in_index(sql.as_ref()?, columns),
    });
    let elements: Vec<_> = elements.collect::<Option<_>>()?;
    if elements.is_empty() {
        return None;
    }
    let mut text = options.method.as_ref().map(|method| format!("USING {method} ")).unwrap_or_default();
    text.push_str(&format!("({})", elements.join(", ")));
    if !options.include.is_empty() {
        let columns: Vec<_> = options.include.iter().map(|name| renamed(name)).collect();
        text.push_str(&format!(" INCLUDE ({})", columns.join(", ")));
    }
    if options.nulls_not_distinct {
        text.push_str(" NULLS NOT DISTINCT");
    }
    if let Some(Some(condition)) = &options.predicate {
        text.push_str(&format!(" WHERE {}", in_index(condition, columns)?));
    }
    Some(text)
}

/// What a column is called until it takes the place of the one that it is for.
fn new_name(column: &str, columns: &[String]) -> Option<String> {
    columns.iter().any(|known| known == column).then(|| format!("safemig_new_{column}"))
}

/// Whether SQL means the same in `sa.text()`, in a driver's parameter style and in a `DO` block.
pub(crate) fn can_be_moved(sql: &str) -> bool {
    !sql.contains(['%', '\\', '$', '\n']) && !sql.replace("::", "").contains(':')
}

/// SQL of an index with the new columns' names in the place of the old ones'.
fn in_index(text: &str, columns: &[String]) -> Option<String> {
    use squawk_syntax::ast::{AstNode, CallExpr, NameRef};

    if !can_be_moved(text) {
        return None;
    }
    let before = "CREATE INDEX i ON t (a) WHERE ";
    let (before, after) = match squawk_syntax::SourceFile::parse(&format!("{before}{text}")).errors() {
        errors if errors.is_empty() => (before, ""),
        _ => ("CREATE INDEX i ON t (", ")"),
    };
    let parse = squawk_syntax::SourceFile::parse(&format!("{before}{text}{after}"));
    if !parse.errors().is_empty() {
        return None;
    }
    let mut out = text.to_owned();
    let names: Vec<_> = parse.tree().syntax().descendants().filter_map(NameRef::cast).collect();
    for name in names.iter().rev() {
        let range = name.syntax().text_range();
        let is_function = name.syntax().parent().is_some_and(|parent| CallExpr::can_cast(parent.kind()));
        let Some(start) = usize::from(range.start()).checked_sub(before.len()) else { continue };
        let end = usize::from(range.end()) - before.len();
        if !is_function && let Some(new) = new_name(&sql::identifier(out.get(start..end)?), columns) {
            out.replace_range(start..end, &quoted(&new));
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_column_stands_in_the_sql_of_an_index() {
        for (sql, expected) in [
            ("id DESC", "safemig_new_id DESC"),
            ("id > 1000 AND tenant = 'id'", "safemig_new_id > 1000 AND tenant = 'id'"),
            ("lower(id::text) text_pattern_ops", "lower(safemig_new_id::text) text_pattern_ops"),
            ("coalesce(\"id\", 0)", "coalesce(safemig_new_id, 0)"),
            ("id(other)", "id(other)"),
        ] {
            assert_eq!(in_index(sql, &["id".to_owned()]).as_deref(), Some(expected), "{sql}");
        }
        let both = ["a".to_owned(), "b".to_owned()];
        assert_eq!(in_index("a + b > c", &both).as_deref(), Some("safemig_new_a + safemig_new_b > c"));
        assert_eq!(in_index("a LIKE 'a%'", &both), None);
    }
}
