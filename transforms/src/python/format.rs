//! What `"…".format(…)` and `"…" % …` put into their text. Source: Python's library reference, "Format String Syntax" and
//! "printf-style String Formatting".

use std::ops::Range;

use ruff_python_ast::{Expr, ExprCall};
use ruff_text_size::{Ranged, TextRange};

use super::value::Value;

/// A part of a format string.
pub(super) enum Part {
    /// Text as it is.
    Text(Range<usize>),
    /// Two characters that stand for one.
    Doubled(Range<usize>, char),
    /// A field: what takes its place, and the name that stands for that, if it is one.
    Field(Value, Option<TextRange>),
}

/// The place of an expression that can be spelled in an f-string.
fn name_of(expr: &Expr) -> Option<TextRange> {
    expr.is_name_expr().then(|| expr.range())
}

/// The parts of `"ix_{}_{t}".format(a, t=b)`; `None` for anything but plain fields.
pub(super) fn braces(format: &str, call: &ExprCall, eval: &dyn Fn(&Expr) -> Value) -> Option<Vec<Part>> {
    let mut next = 0;
    parts(format, &['{', '}'], |tail| {
        let end = tail.strip_prefix('{')?.find('}')? + 1;
        let name = &tail[1..end];
        let argument = if name.is_empty() {
            next += 1;
            call.arguments.find_positional(next - 1)?
        } else if let Ok(position) = name.parse() {
            call.arguments.find_positional(position)?
        } else {
            &call.arguments.find_keyword(name)?.value
        };
        Some((end + 1, eval(argument), name_of(argument)))
    })
}

/// The parts of `"ix_%s_%(t)s" % …`; `None` for anything but `%s` and `%d`.
pub(super) fn percents(format: &str, arguments: &Expr, eval: &dyn Fn(&Expr) -> Value) -> Option<Vec<Part>> {
    let value = eval(arguments);
    let given: Vec<(Value, Option<TextRange>)> = match (&value, arguments) {
        // A list is printed as a whole.
        (Value::List(_), Expr::List(_)) => return None,
        (Value::List(values), Expr::Tuple(tuple)) if values.len() == tuple.len() => {
            values.iter().cloned().zip(tuple.iter().map(name_of)).collect()
        }
        (Value::List(values), _) => values.iter().map(|value| (value.clone(), None)).collect(),
        (other, _) => vec![(other.clone(), name_of(arguments))],
    };
    let mut given = given.into_iter();
    parts(format, &['%'], |tail| {
        let tail = tail.strip_prefix('%')?;
        if tail.starts_with(['s', 'd']) {
            let (value, name) = given.next()?;
            return Some((2, value, name));
        }
        let (key, _) = tail.strip_prefix('(')?.split_once(")s")?;
        let Value::Dict(items) = &value else { return None };
        let found = items.iter().find_map(|(name, value)| (name.as_str() == Some(key)).then_some(value))?;
        Some((key.len() + "%()s".len(), found.clone(), None))
    })
}

/// Cut a format string at its special characters, which stand for themselves when they are doubled. `field` tells how
/// long the field is that a text begins with, its value, and the name of that.
fn parts(
    format: &str,
    special: &[char],
    mut field: impl FnMut(&str) -> Option<(usize, Value, Option<TextRange>)>,
) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(found) = format[at..].find(special) {
        let start = at + found;
        parts.push(Part::Text(at..start));
        let tail = &format[start..];
        let mut chars = tail.chars();
        let (first, second) = (chars.next()?, chars.next());
        if second == Some(first) {
            parts.push(Part::Doubled(start..start + 2, first));
            at = start + 2;
        } else {
            let (length, value, name) = field(tail)?;
            parts.push(Part::Field(value, name));
            at = start + length;
        }
    }
    parts.push(Part::Text(at..format.len()));
    Some(parts)
}

/// The whole text; [`Value::Unknown`] where a field is no text or number.
pub(super) fn joined(format: &str, parts: Option<Vec<Part>>) -> Value {
    let Some(parts) = parts else { return Value::Unknown };
    let mut text = String::new();
    let mut partial = false;
    for part in parts {
        match part {
            Part::Text(range) => text.push_str(&format[range]),
            Part::Doubled(_, character) => text.push(character),
            Part::Field(Value::Str(value), _) => text.push_str(&value),
            Part::Field(Value::Int(value), _) => text.push_str(&value.to_string()),
            Part::Field(Value::Partial(value), _) => {
                partial = true;
                text.push_str(&value);
            }
            Part::Field(..) => return Value::Unknown,
        }
    }
    if partial { Value::Partial(text) } else { Value::Str(text) }
}
