//! Text that an expression builds, and where each part of it stands in the source.
//!
//! SQL is edited inside of the author's own string literals: this says where. A map is only made of what
//! is the same as ruff's own decoding of the literal.

use std::ops::Range;

use ruff_python_ast::{
    Expr, ExprCall, FStringPart, InterpolatedStringElement, Operator, StringFlags, StringLiteral,
};
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::edit::{self, Edit};
use super::format::{self, Part};
use super::scope::Scope;
use super::value::Value;

/// What is doubled in f-strings and formats to stand for itself.
const BRACES: &[char] = &['{', '}'];

/// Text, and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    /// What Python would make of the expression; what is not known stands in it as its symbol (`{prefix}`).
    pub value: String,
    /// Whether there are no symbols in it.
    pub known: bool,
    /// Whether the expression can be cut between any two characters: it is made of literals only.
    pub divisible: bool,
    /// The expression.
    pub range: TextRange,
    /// The line break of the source.
    newline: &'static str,
    pieces: Vec<Piece>,
    literals: Vec<Literal>,
}

/// A part of the text.
#[derive(Debug, Clone, PartialEq)]
struct Piece {
    text: Range<usize>,
    place: Place,
}

/// Where a part of the text stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// The same bytes, in one of the literals.
    Verbatim { literal: usize, start: TextSize },
    /// An escape sequence, a line ending or a doubled brace in one of the literals.
    Escape { literal: usize, range: TextRange },
    /// A field of an f-string.
    Field { literal: usize, range: TextRange, known: bool },
    /// The value of another expression, and where its name stands, if it is one.
    Elsewhere { known: bool, name: Option<TextRange> },
}

/// A string token, or all tokens of an f-string.
#[derive(Debug, Clone, PartialEq)]
struct Literal {
    /// Its prefix and opening quotes.
    open: String,
    quotes: &'static str,
    /// What stands between the quotes.
    content: TextRange,
    raw: bool,
    /// What has to be doubled in it to stand for itself.
    doubled: &'static [char],
}

impl Text {
    fn empty(range: TextRange) -> Self {
        Self {
            value: String::new(),
            known: true,
            divisible: true,
            range,
            newline: "\n",
            pieces: Vec::new(),
            literals: Vec::new(),
        }
    }

    /// What an expression is, if it is text of which at least something is known.
    #[must_use]
    pub fn read(expr: &Expr, scope: &Scope, source: &str) -> Option<Self> {
        let mut text = Self::empty(expr.range());
        if source[expr.range()].contains("\r\n") {
            text.newline = "\r\n";
        }
        text.add(expr, scope, source)?;
        Some(text)
    }

    /// A text that stands nowhere in the source.
    #[must_use]
    pub fn plain(value: &str) -> Self {
        let mut text = Self { divisible: false, ..Self::empty(TextRange::default()) };
        text.push(value, Place::Elsewhere { known: true, name: None });
        text
    }

    /// The parts of the text that are not known.
    pub fn symbols(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.pieces
            .iter()
            .filter(|piece| {
                matches!(
                    piece.place,
                    Place::Field { known: false, .. } | Place::Elsewhere { known: false, .. }
                )
            })
            .map(|piece| piece.text.clone())
    }

    fn push(&mut self, text: &str, place: Place) {
        let start = self.value.len();
        self.value.push_str(text);
        if !text.is_empty() || matches!(place, Place::Escape { .. }) {
            self.pieces.push(Piece { text: start..self.value.len(), place });
        }
    }

    fn add(&mut self, expr: &Expr, scope: &Scope, source: &str) -> Option<()> {
        match expr {
            Expr::StringLiteral(literal) => {
                literal.value.iter().try_for_each(|part| self.string(part, source))
            }
            Expr::FString(fstring) => {
                for part in &fstring.value {
                    match part {
                        FStringPart::Literal(part) => self.string(part, source)?,
                        FStringPart::FString(part) => {
                            let index = self.literal(part.range, part.flags, BRACES, source);
                            for element in &part.elements {
                                match element {
                                    InterpolatedStringElement::Literal(literal) => {
                                        self.decode(index, literal.range, &literal.value, source)?;
                                    }
                                    InterpolatedStringElement::Interpolation(field) => {
                                        let plain = field.format_spec.is_none()
                                            && field.debug_text.is_none()
                                            && field.conversion == ruff_python_ast::ConversionFlag::None;
                                        let (text, known) = scope.eval(&field.expression).printed()?;
                                        if !plain {
                                            return None;
                                        }
                                        self.known &= known;
                                        let range = field.range;
                                        self.push(&text, Place::Field { literal: index, range, known });
                                    }
                                }
                            }
                        }
                    }
                }
                Some(())
            }
            Expr::BinOp(binary) if binary.op == Operator::Add => {
                self.add(&binary.left, scope, source)?;
                self.add(&binary.right, scope, source)
            }
            Expr::BinOp(binary) if binary.op == Operator::Mod && binary.left.is_string_literal_expr() => {
                let parts =
                    |format: &str| format::percents(format, &binary.right, &|value| scope.eval(value));
                self.formatted(&binary.left, &['%'], parts, scope, source)
            }
            Expr::Call(call) => self.call(call, scope, source),
            _ => self.elsewhere(expr, scope),
        }
    }

    /// `text("…")`, `"…".strip()`, `dedent("…")`; of other calls only the value counts.
    fn call(&mut self, call: &ExprCall, scope: &Scope, source: &str) -> Option<()> {
        let (name, owner) = match &*call.func {
            Expr::Name(name) => (name.id.as_str(), None),
            Expr::Attribute(attribute) => (attribute.attr.as_str(), Some(&*attribute.value)),
            _ => return None,
        };
        match (name, &*call.arguments.args) {
            ("text" | "DDL", [argument]) if call.arguments.keywords.is_empty() => {
                self.add(argument, scope, source)?;
                self.range = argument.range();
                Some(())
            }
            // White space at the edges of lines means nothing to SQL, other than inside of quotes, and there
            // to both texts alike: nobody dedents text with quoted line breaks for its effect.
            ("dedent" | "cleandoc", [argument]) if !quotes_line_break(&scope.eval(argument)) => {
                self.add(argument, scope, source)?;
                self.range = argument.range();
                Some(())
            }
            ("strip" | "lstrip" | "rstrip", []) => {
                let argument = owner?;
                self.add(argument, scope, source)?;
                self.range = argument.range();
                Some(())
            }
            ("format", _) => {
                let parts = |format: &str| format::braces(format, call, &|value| scope.eval(value));
                self.formatted(owner?, BRACES, parts, scope, source)
            }
            _ => None,
        }
    }

    /// A text with fields: `"… {} …".format(a)`, `"… %s …" % a`.
    fn formatted(
        &mut self,
        format: &Expr,
        doubled: &'static [char],
        parts: impl FnOnce(&str) -> Option<Vec<Part>>,
        scope: &Scope,
        source: &str,
    ) -> Option<()> {
        let Expr::StringLiteral(_) = format else { return None };
        let literal = Self::read(format, scope, source)?;
        self.divisible = false;
        let offset = self.literals.len();
        self.literals.extend(literal.literals.iter().cloned().map(|one| Literal { doubled, ..one }));
        for part in parts(&literal.value)? {
            match part {
                Part::Text(range) => self.copy(&literal, range, offset),
                Part::Doubled(range, character) => {
                    let (index, range) = literal.source_of(range)?;
                    self.push(&character.to_string(), Place::Escape { literal: index + offset, range });
                }
                Part::Field(value, name) => {
                    let (text, known) = value.printed()?;
                    self.known &= known;
                    self.push(&text, Place::Elsewhere { known, name });
                }
            }
        }
        Some(())
    }

    /// A part of another text.
    fn copy(&mut self, other: &Self, range: Range<usize>, offset: usize) {
        for piece in &other.pieces {
            let (start, end) = (piece.text.start.max(range.start), piece.text.end.min(range.end));
            if start > end || (start == end && !piece.text.is_empty()) {
                continue;
            }
            let place = match piece.place {
                Place::Verbatim { literal, start: at } => {
                    Place::Verbatim { literal: literal + offset, start: at + size(start - piece.text.start) }
                }
                Place::Escape { literal, range } => Place::Escape { literal: literal + offset, range },
                Place::Field { literal, range, known } => {
                    Place::Field { literal: literal + offset, range, known }
                }
                Place::Elsewhere { known, name } => Place::Elsewhere { known, name },
            };
            self.push(&other.value[start..end], place);
        }
    }

    fn elsewhere(&mut self, expr: &Expr, scope: &Scope) -> Option<()> {
        let (text, known) = match scope.eval(expr) {
            Value::Sql(text) => (text, true),
            value => value.printed()?,
        };
        self.known &= known;
        self.divisible = false;
        self.push(&text, Place::Elsewhere { known, name: None });
        Some(())
    }

    fn string(&mut self, part: &StringLiteral, source: &str) -> Option<()> {
        let index = self.literal(part.range, part.flags, &[], source);
        self.decode(index, self.literals[index].content, &part.value, source)
    }

    fn literal(
        &mut self,
        range: TextRange,
        flags: impl StringFlags,
        doubled: &'static [char],
        source: &str,
    ) -> usize {
        let content = TextRange::new(range.start() + flags.opener_len(), range.end() - flags.closer_len());
        self.literals.push(Literal {
            open: source[TextRange::new(range.start(), content.start())].to_owned(),
            quotes: flags.quote_str(),
            content,
            raw: flags.prefix().is_raw(),
            doubled,
        });
        self.literals.len() - 1
    }

    /// Map what stands between the quotes of a literal to its value.
    fn decode(&mut self, literal: usize, range: TextRange, value: &str, source: &str) -> Option<()> {
        let (raw, doubled) = (self.literals[literal].raw, self.literals[literal].doubled);
        let code = &source[range];
        let (mut from, mut to) = (0, 0);
        let (mut run_from, mut run_to) = (0, 0);
        while from < code.len() {
            let rest = &code[from..];
            let line_break = rest.starts_with("\r\n") && value[to..].starts_with('\n');
            let mut chars = rest.chars();
            let first = chars.next()?;
            let brace = doubled.contains(&first) && chars.next() == Some(first);
            let (taken, made) = if line_break || brace {
                (2, 1)
            } else if !raw && rest.starts_with('\\') {
                escape(rest, &value[to..])?
            } else {
                if !value[to..].starts_with(first) {
                    return None;
                }
                from += first.len_utf8();
                to += first.len_utf8();
                continue;
            };
            self.push(&value[run_to..to], Place::Verbatim { literal, start: range.start() + size(run_from) });
            let place = TextRange::at(range.start() + size(from), size(taken));
            self.push(value.get(to..to + made)?, Place::Escape { literal, range: place });
            from += taken;
            to += made;
            (run_from, run_to) = (from, to);
        }
        self.push(&value[run_to..to], Place::Verbatim { literal, start: range.start() + size(run_from) });
        (to == value.len()).then_some(())
    }

    /// The literal, and the place in it, of a part of the text that stands in one literal.
    fn source_of(&self, range: Range<usize>) -> Option<(usize, TextRange)> {
        let mut found: Option<(usize, TextRange)> = None;
        for piece in &self.pieces {
            if piece.text.start >= range.end || piece.text.end <= range.start {
                continue;
            }
            let (literal, place) = match piece.place {
                Place::Verbatim { literal, start } => {
                    let from = piece.text.start.max(range.start) - piece.text.start;
                    let to = piece.text.end.min(range.end) - piece.text.start;
                    (literal, TextRange::new(start + size(from), start + size(to)))
                }
                Place::Escape { literal, range } | Place::Field { literal, range, .. } => (literal, range),
                Place::Elsewhere { .. } => return None,
            };
            found = match found {
                None => Some((literal, place)),
                Some((known, so_far)) if known == literal => Some((known, so_far.cover(place))),
                Some(_) => return None,
            };
        }
        found
    }

    /// Where new text goes so that it stands at `offset` of the text.
    fn place(&self, offset: usize) -> Option<(usize, TextSize)> {
        let before =
            self.pieces.iter().rev().find(|piece| piece.text.end <= offset && !piece.text.is_empty());
        let around = self.pieces.iter().find(|piece| piece.text.start < offset && offset < piece.text.end);
        if let Some(Piece { text, place: Place::Verbatim { literal, start } }) = around {
            return Some((*literal, *start + size(offset - text.start)));
        }
        if around.is_some() {
            return None;
        }
        match before.filter(|piece| piece.text.end == offset) {
            Some(Piece { text, place: Place::Verbatim { literal, start } }) => {
                return Some((*literal, *start + size(text.len())));
            }
            Some(Piece {
                place: Place::Escape { literal, range } | Place::Field { literal, range, .. },
                ..
            }) => {
                return Some((*literal, range.end()));
            }
            _ => {}
        }
        match self.pieces.iter().find(|piece| piece.text.start == offset && !piece.text.is_empty())?.place {
            Place::Verbatim { literal, start } => Some((literal, start)),
            Place::Escape { literal, range } | Place::Field { literal, range, .. } => {
                Some((literal, range.start()))
            }
            Place::Elsewhere { .. } => None,
        }
    }

    /// Put new SQL into the text; `None` where that is not in a literal.
    #[must_use]
    pub fn insert(&self, offset: usize, new: &str) -> Option<Edit> {
        let (literal, at) = self.place(offset)?;
        Some(edit::insert(at, self.literals[literal].escaped(new)))
    }

    /// Put new SQL into the place of a part of the text; `None` where that is not all in literals.
    #[must_use]
    pub fn replace(&self, range: Range<usize>, new: &str) -> Option<Vec<Edit>> {
        let mut edits: Vec<Edit> = Vec::new();
        let mut at = range.start;
        let mut last: Option<(usize, TextRange)> = None;
        while at < range.end {
            let piece = self.pieces.iter().find(|piece| piece.text.contains(&at))?;
            let end = piece.text.end.min(range.end);
            let (literal, place) = self.source_of(at..end)?;
            match &mut last {
                Some((known, so_far)) if *known == literal => *so_far = so_far.cover(place),
                _ => {
                    edits.extend(last.take().map(|(_, gone)| edit::replace(gone, "")));
                    last = Some((literal, place));
                }
            }
            at = end;
        }
        edits.extend(last.map(|(_, gone)| edit::replace(gone, "")));
        if !new.is_empty() {
            let (literal, _) = self.source_of(self.character_at(range.start)?)?;
            let first = edits.first_mut()?;
            *first = edit::replace(first.range(), self.literals[literal].escaped(new));
        }
        Some(edits)
    }

    /// A part of the text as it is spelled inside of its literal; `None` unless it stands in one.
    #[must_use]
    pub fn spelled<'a>(&self, range: Range<usize>, source: &'a str) -> Option<&'a str> {
        Some(&source[self.source_of(range)?.1])
    }

    /// An expression for a part of the text, when it is more than a known text: an f-string with its fields.
    #[must_use]
    pub fn expression(&self, range: Range<usize>, source: &str) -> Option<String> {
        let Some((literal, place)) = self.source_of(range.clone()) else {
            return self.f_string(&range, source);
        };
        let literal = &self.literals[literal];
        let quote = if literal.quotes.len() == 3 { &literal.quotes[..1] } else { literal.quotes };
        let prefix = literal.open.trim_end_matches(['"', '\'']);
        let spelled = &source[place];
        (!spelled.contains(['\n', quote.chars().next()?])).then(|| format!("{prefix}{quote}{spelled}{quote}"))
    }

    /// An f-string for a part of a text that has names put into it.
    fn f_string(&self, range: &Range<usize>, source: &str) -> Option<String> {
        let mut inside = String::new();
        let mut quote = "\"";
        for piece in &self.pieces {
            let (start, end) = (piece.text.start.max(range.start), piece.text.end.min(range.end));
            if start >= end {
                continue;
            }
            let text = &self.value[start..end];
            match piece.place {
                Place::Verbatim { literal, .. } if !text.contains(['{', '}', '\\', '"', '\'', '\n']) => {
                    quote = &self.literals[literal].quotes[..1];
                    inside.push_str(text);
                }
                Place::Elsewhere { name: Some(name), .. } if text.len() == piece.text.len() => {
                    inside.push_str(&format!("{{{}}}", &source[name]));
                }
                _ => return None,
            }
        }
        Some(format!("f{quote}{inside}{quote}"))
    }

    /// Whether a part of the text comes, at least in part, from a field or another expression.
    #[must_use]
    pub fn is_put_in(&self, range: &Range<usize>) -> bool {
        self.pieces.iter().any(|piece| {
            piece.text.start < range.end
                && range.start < piece.text.end
                && matches!(piece.place, Place::Field { .. } | Place::Elsewhere { .. })
        })
    }

    /// Source of an expression for a part of the text, quotes and layout kept; `None` where the text can't
    /// be cut. In a text of several lines, `edges` (white space) go around it.
    #[must_use]
    pub fn cut(&self, range: Range<usize>, edges: (&str, &str), source: &str) -> Option<String> {
        if !self.divisible || range.is_empty() {
            return None;
        }
        let (start_literal, start) = self.source_of(self.character_at(range.start)?)?;
        let (end_literal, end) = self.source_of(self.character_before(range.end)?)?;
        let inside = &source[TextRange::new(start.start(), end.end())];
        Some(self.quoted(&self.literals[start_literal], &self.literals[end_literal], inside, edges))
    }

    /// Source of an expression for several parts of the text, one after the other, with `separator`
    /// between the `items`; `None` unless all of them stand in literals of one kind, which become one.
    #[must_use]
    pub fn compose(
        &self,
        head: &Range<usize>,
        items: &[Range<usize>],
        separator: &str,
        edges: (&str, &str),
        source: &str,
    ) -> Option<String> {
        let literal = &self.literals[self.source_of(self.character_at(head.start)?)?.0];
        let mut inside = self.joined(head, literal, source)?;
        for (index, item) in items.iter().enumerate() {
            inside.push_str(if index > 0 { separator } else { "" });
            inside.push_str(&self.joined(item, literal, source)?);
        }
        self.divisible.then(|| self.quoted(literal, literal, &inside, edges))
    }

    /// A part of the text as it is spelled in literals that are opened and closed like this one.
    fn joined(&self, range: &Range<usize>, like: &Literal, source: &str) -> Option<String> {
        let pieces = self.pieces.iter().filter_map(|piece| {
            let (start, end) = (piece.text.start.max(range.start), piece.text.end.min(range.end));
            (start < end).then_some(start..end)
        });
        let spelled = pieces.map(|piece| {
            let (literal, place) = self.source_of(piece)?;
            (self.literals[literal].open == like.open).then_some(&source[place])
        });
        spelled.collect()
    }

    fn quoted(&self, first: &Literal, last: &Literal, inside: &str, edges: (&str, &str)) -> String {
        let edge = |literal: &Literal, edge: &str| match literal.quotes.len() {
            3 => edge.replace('\r', "").replace('\n', self.newline),
            _ => String::new(),
        };
        let (before, behind) = (edge(first, edges.0), edge(last, edges.1));
        format!("{}{before}{inside}{behind}{}", first.open, last.quotes)
    }

    fn character_at(&self, offset: usize) -> Option<Range<usize>> {
        Some(offset..offset + self.value.get(offset..)?.chars().next()?.len_utf8())
    }

    fn character_before(&self, offset: usize) -> Option<Range<usize>> {
        Some(offset - self.value.get(..offset)?.chars().next_back()?.len_utf8()..offset)
    }

    /// Where a part of the text begins in the source.
    #[must_use]
    pub fn start_of(&self, range: &Range<usize>) -> Option<TextSize> {
        Some(self.source_of(self.character_at(range.start)?)?.1.start())
    }

    /// Where a part of the text ends in the source.
    #[must_use]
    pub fn end_of(&self, range: &Range<usize>) -> Option<TextSize> {
        Some(self.source_of(self.character_before(range.end)?)?.1.end())
    }
}

impl Literal {
    /// Text as it has to be spelled inside of the literal.
    fn escaped(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let quote = self.quotes.chars().next().unwrap_or('"');
        for c in text.chars() {
            if self.quotes.len() == 1 && c == quote && !self.raw {
                out.push('\\');
            }
            if self.doubled.contains(&c) {
                out.push(c);
            }
            out.push(c);
        }
        out
    }
}

impl Value {
    /// What stands for the value in a text that it is put into, and whether that is its real text.
    fn printed(&self) -> Option<(String, bool)> {
        match self {
            Value::Str(text) => Some((text.clone(), true)),
            Value::Int(number) => Some((number.to_string(), true)),
            Value::Partial(text) => Some((text.clone(), false)),
            _ => None,
        }
    }
}

/// How many bytes an escape sequence has, and how many it stands for. Source: Python's reference, "String
/// and Bytes literals".
fn escape(code: &str, value: &str) -> Option<(usize, usize)> {
    let next = code[1..].chars().next()?;
    let taken = match next {
        '\n' => return Some((2, 0)),
        '\r' => return Some((if code[2..].starts_with('\n') { 3 } else { 2 }, 0)),
        'x' => 4,
        'u' => 6,
        'U' => 10,
        'N' => code.find('}')? + 1,
        '0'..='7' => 1 + code[1..].chars().take(3).take_while(|c| ('0'..='7').contains(c)).count(),
        '\\' | '\'' | '"' | 'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' => 2,
        // The backslash stands for itself.
        _ => 1,
    };
    Some((taken, value.chars().next()?.len_utf8()))
}

/// Whether a line break stands between single quotes, where white space is data.
fn quotes_line_break(value: &Value) -> bool {
    let (Value::Str(text) | Value::Partial(text) | Value::Sql(text)) = value else { return true };
    text.split('\'').skip(1).step_by(2).any(|quoted| quoted.contains('\n'))
}

fn size(bytes: usize) -> TextSize {
    TextSize::try_from(bytes).unwrap_or_default()
}
