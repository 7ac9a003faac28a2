//! What `ALTER COLUMN … TYPE` does to the rows and the indexes of a table.
//!
//! PostgreSQL leaves the table's file alone when the conversion is no more than a relabelling, or a length
//! that its planner sees to be wide enough (`ATColumnChangeRequiresRewrite`, and the support functions of
//! the length coercions); an index is left alone when it would be built with the same operator class and
//! collation (`CheckIndexCompatible`). The test `types` of the program compares these answers with the
//! files of real servers.

use squawk_syntax::ast::{AstNode, Expr};

use super::casts::converts;
use super::{Base, Type};
use crate::operations::sql;

/// What a change of type costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Neither the rows nor the indexes are touched.
    Catalog,
    /// The rows stay; the indexes of the column are built anew.
    Indexes,
    /// The same, but only in a session whose time zone is UTC; otherwise the table is rewritten.
    IndexesInUtc,
    /// The table is written anew, with all its indexes.
    Rewrite,
}

/// What PostgreSQL does when a column becomes another type, without `USING`; `None` when that depends on a
/// type that is not known.
#[must_use]
pub fn change(old: &Type, new: &Type, postgres: u32) -> Option<Effect> {
    let effect = convert(old, new, postgres)?;
    // A type that has no collation of its own says nothing of it.
    let collation = |type_: &Type| type_.collation.clone().filter(|name| name != "default");
    let collated = |type_: &Type| has_collation(type_);
    if collated(old) && collated(new) && collation(old) != collation(new) {
        return Some(effect.max(Effect::Indexes));
    }
    Some(effect)
}

/// The same with `USING`: a column, or casts of it, are looked through; anything else computes every row.
#[must_use]
pub fn change_using(old: &Type, new: &Type, using: &str, column: &str, postgres: u32) -> Option<Effect> {
    let Some(casts) = casts(using, column) else { return Some(Effect::Rewrite) };
    let mut effects = Vec::new();
    let mut at = old.clone();
    let casts = casts.iter().map(|cast| match Type::read(cast) {
        // The one is known to be no domain, the other is only its name.
        type_ if matches!((&type_.base, &new.base), (Base::Other(name), Base::Enum(known)) if name == known) => {
            Type { base: new.base.clone(), ..type_ }
        }
        type_ => type_,
    });
    for type_ in casts.chain([new.clone()]) {
        // A cast keeps the collation; the column's own comes with the last step.
        let next = Type { collation: type_.collation.clone().or_else(|| at.collation.clone()), ..type_ };
        effects.push(convert(&at, &next, postgres));
        at = next;
    }
    effects.push(change(&Type { collation: old.collation.clone(), ..at }, new, postgres));
    // One step that computes every row is enough, whatever the others are.
    if effects.contains(&Some(Effect::Rewrite)) {
        return Some(Effect::Rewrite);
    }
    effects.into_iter().collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// Whether an assignment makes the new type of the result of `USING`; `None` when that is not known.
#[must_use]
pub fn converts_using(old: &Type, new: &Type, using: &str, column: &str) -> Option<bool> {
    let casts = casts(using, column)?;
    let result = casts.last().map_or_else(|| old.clone(), |cast| Type::read(cast));
    converts(&result, new)
}

/// The types of `column::a::b`, innermost first; `None` when it is anything else.
fn casts(using: &str, column: &str) -> Option<Vec<String>> {
    let statement = format!("SELECT {using}");
    let parse = squawk_syntax::SourceFile::parse(&statement);
    if !parse.errors().is_empty() {
        return None;
    }
    let outermost = parse.tree().syntax().descendants().find_map(Expr::cast)?;
    // What stands around the expression, such as a comma and another one, is no part of it.
    let whole = outermost.syntax().text_range();
    if usize::from(whole.start()) != "SELECT ".len() || usize::from(whole.end()) < statement.trim_end().len()
    {
        return None;
    }
    let mut types = Vec::new();
    let mut expression = outermost;
    loop {
        expression = match &expression {
            Expr::ParenExpr(inner) => inner.expr()?,
            Expr::CastExpr(cast) => {
                types.push(cast.ty()?.syntax().text().to_string());
                cast.expr()?
            }
            Expr::NameRef(name) => {
                let same = sql::identifier(&name.syntax().text().to_string()) == column;
                types.reverse();
                return same.then_some(types);
            }
            _ => return None,
        };
    }
}

fn has_collation(type_: &Type) -> bool {
    matches!(
        type_.base,
        Base::Builtin("text" | "character varying" | "character" | "bpchar" | "citext" | "name")
    )
}

/// Without collations.
fn convert(old: &Type, new: &Type, postgres: u32) -> Option<Effect> {
    let same_base = match (&old.base, &new.base) {
        (Base::Builtin(old), Base::Builtin(new)) => old == new,
        // The one may have been given as SQL, the other as SQLAlchemy code.
        (Base::Enum(old) | Base::Other(old), Base::Enum(new) | Base::Other(new)) => old == new,
        _ => false,
    };
    if same_base && old.array == new.array && old.modifiers == new.modifiers && old.fields == new.fields {
        return Some(Effect::Catalog);
    }
    let (Base::Builtin(from), Base::Builtin(to)) = (&old.base, &new.base) else {
        // What was created may be a domain, which can be a mere relabelling.
        return (old.is_known() && new.is_known()).then_some(Effect::Rewrite);
    };
    if old.array || new.array {
        return Some(Effect::Rewrite);
    }
    let widens = |old: Option<i32>, new: Option<i32>| match (old, new) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(old), Some(new)) => new >= old,
    };
    // The precision of times is 6 when none is given.
    let precision = |type_: &Type| Some(type_.modifiers.first().copied().unwrap_or(6));
    let (first, wide) = (old.modifiers.first().copied(), new.modifiers.first().copied());
    let relabels = match (*from, *to) {
        ("character varying" | "text", "character varying" | "text") | ("bit varying", "bit varying") => {
            widens(first, wide)
        }
        ("numeric", "numeric") => {
            new.modifiers.is_empty()
                || (old.modifiers.get(1) == new.modifiers.get(1) && widens(first, wide) && first.is_some())
        }
        ("interval", "interval") => {
            // Nothing is cut off when the new one has the old one's smallest field, as precisely.
            let (old_field, new_field) = (smallest_field(old), smallest_field(new));
            new_field <= old_field && (old_field > 0 || widens(precision(old), precision(new)))
        }
        (a, b) if a == b && a.starts_with("time") => widens(precision(old), precision(new)),
        ("cidr", "inet")
        | ("xml", "text")
        | ("character" | "xml", "bpchar")
        | ("oid", "regclass")
        | ("regclass", "oid") => true,
        ("xml", "character varying") => wide.is_none(),
        _ => false,
    };
    if relabels {
        return Some(Effect::Catalog);
    }
    Some(match (*from, *to) {
        ("character varying" | "text", "citext")
        | ("citext", "text")
        | ("integer", "oid" | "regclass")
        | ("oid" | "regclass", "integer")
        | ("text" | "character varying" | "citext", "bpchar") => Effect::Indexes,
        ("citext", "character varying") | ("bit", "bit varying") if wide.is_none() => Effect::Indexes,
        ("timestamp without time zone", "timestamp with time zone")
        | ("timestamp with time zone", "timestamp without time zone")
            if postgres >= 12 && wide.is_none_or(|digits| digits >= 6) =>
        {
            Effect::IndexesInUtc
        }
        _ => Effect::Rewrite,
    })
}

/// The smallest field that an interval keeps, counted from seconds upwards.
fn smallest_field(type_: &Type) -> usize {
    let last = type_.fields.as_deref().and_then(|fields| fields.split_whitespace().last());
    let fields = ["second", "minute", "hour", "day", "month", "year"];
    last.and_then(|last| fields.iter().position(|field| *field == last)).unwrap_or(0)
}
