//! Tokens that a project computes itself: functions `(constraint, table) -> str` in its naming convention.
//!
//! Source: SQLAlchemy's "Creating Custom Tokens for Naming Conventions". Only what such a function can say about
//! the names of the table and the columns is read; any other makes the token unknown.

use ruff_python_ast::{Expr, InterpolatedStringElement, Operator, Parameters, Stmt, StmtFunctionDef};

use super::convention::Named;

/// What a token is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Text(String),
    /// `table.name`
    Table,
    /// `constraint.name`
    Given,
    /// The column that a `for` is at.
    Column,
    Concat(Vec<Token>),
    /// `separator.join(element for column in constraint.columns)`
    Join {
        separator: String,
        element: Box<Token>,
        sorted: bool,
    },
    /// `a if constraint.unique else b`, which only an index can answer.
    IfUnique(Box<Token>, Box<Token>),
    Lower(Box<Token>),
    Upper(Box<Token>),
    Replace(Box<Token>, String, String),
}

impl Token {
    /// What a function computes.
    pub(super) fn of_function(function: &StmtFunctionDef) -> Option<Self> {
        let mut reader = Reader::new(&function.parameters)?;
        let mut body = function.body.iter().peekable();
        body.next_if(|first| matches!(first, Stmt::Expr(one) if one.value.is_string_literal_expr()));
        for statement in body {
            match statement {
                Stmt::Assign(assign) => match &assign.targets[..] {
                    [Expr::Name(name)] => reader.locals.push((name.id.as_str(), &assign.value)),
                    _ => return None,
                },
                Stmt::Return(result) => return reader.token(result.value.as_deref()?),
                _ => return None,
            }
        }
        None
    }

    /// What a `lambda` computes.
    pub(super) fn of_lambda(expr: &Expr) -> Option<Self> {
        let Expr::Lambda(lambda) = expr else { return None };
        Reader::new(lambda.parameters.as_deref()?)?.token(&lambda.body)
    }

    /// The text for one constraint or index; `None` when it can't be known.
    pub(super) fn text(&self, named: &Named, column: Option<&str>) -> Option<String> {
        Some(match self {
            Self::Text(text) => text.clone(),
            Self::Table => named.table.name.clone(),
            Self::Given => named.given?.to_owned(),
            Self::Column => column?.to_owned(),
            Self::Concat(parts) => {
                parts.iter().map(|part| part.text(named, column)).collect::<Option<Vec<_>>>()?.concat()
            }
            Self::Join { separator, element, sorted } => {
                let mut parts = named
                    .columns?
                    .iter()
                    .map(|one| element.text(named, Some(one)))
                    .collect::<Option<Vec<_>>>()?;
                if *sorted {
                    parts.sort();
                }
                parts.join(separator)
            }
            Self::IfUnique(then, other) => if named.unique? { then } else { other }.text(named, column)?,
            // Other letters have rules of their own.
            Self::Lower(inner) => ascii(inner.text(named, column)?)?.to_ascii_lowercase(),
            Self::Upper(inner) => ascii(inner.text(named, column)?)?.to_ascii_uppercase(),
            Self::Replace(inner, from, to) => inner.text(named, column)?.replace(from, to),
        })
    }
}

fn ascii(text: String) -> Option<String> {
    text.is_ascii().then_some(text)
}

/// Reads expressions over the two parameters.
struct Reader<'a> {
    constraint: &'a str,
    table: &'a str,
    locals: Vec<(&'a str, &'a Expr)>,
    /// The variable of the `for` around.
    column: Option<&'a str>,
}

impl<'a> Reader<'a> {
    fn new(parameters: &'a Parameters) -> Option<Self> {
        let mut names = parameters.iter().map(|parameter| parameter.name().as_str());
        let (constraint, table) = (names.next()?, names.next()?);
        names.next().is_none().then_some(Self { constraint, table, locals: Vec::new(), column: None })
    }

    fn token(&mut self, expr: &'a Expr) -> Option<Token> {
        Some(match expr {
            Expr::StringLiteral(text) => Token::Text(text.value.to_str().to_owned()),
            Expr::FString(text) => {
                let parts = text.value.elements().map(|element| match element {
                    InterpolatedStringElement::Literal(text) => Some(Token::Text(text.value.to_string())),
                    InterpolatedStringElement::Interpolation(value) => {
                        let plain = value.format_spec.is_none() && value.conversion.is_none();
                        self.token(plain.then_some(&*value.expression)?)
                    }
                });
                let literals: usize = text.value.iter().filter(|part| part.is_literal()).count();
                (literals == 0).then(|| Some(Token::Concat(parts.collect::<Option<_>>()?))).flatten()?
            }
            Expr::BinOp(operation) if operation.op == Operator::Add => {
                Token::Concat(vec![self.token(&operation.left)?, self.token(&operation.right)?])
            }
            Expr::Attribute(attribute) => match (&*attribute.value, attribute.attr.as_str()) {
                (value, "name") if self.is_table(value) => Token::Table,
                (Expr::Name(name), "name") if name.id.as_str() == self.constraint => Token::Given,
                (Expr::Name(name), "name" | "key") if Some(name.id.as_str()) == self.column => Token::Column,
                _ => return None,
            },
            Expr::Name(name) if Some(name.id.as_str()) == self.column => Token::Column,
            Expr::Name(name) => {
                let at = self.locals.iter().rposition(|(local, _)| *local == name.id.as_str())?;
                let value = self.locals[at].1;
                // It was computed with what was known before.
                let later = self.locals.split_off(at);
                let token = self.token(value);
                self.locals.extend(later);
                token?
            }
            Expr::If(choice) => match &*choice.test {
                Expr::Attribute(attribute)
                    if attribute.attr.as_str() == "unique" && self.is_constraint(&attribute.value) =>
                {
                    Token::IfUnique(
                        Box::new(self.token(&choice.body)?),
                        Box::new(self.token(&choice.orelse)?),
                    )
                }
                // `column if isinstance(column, str) else column.name`: the name in either case.
                Expr::Call(call) if is_named(&call.func, "isinstance") => {
                    let (one, other) = (self.token(&choice.body)?, self.token(&choice.orelse)?);
                    (one == other).then_some(one)?
                }
                _ => return None,
            },
            Expr::Call(call) if call.arguments.keywords.is_empty() => {
                let arguments = &*call.arguments.args;
                match (&*call.func, arguments) {
                    (function, [argument]) if is_named(function, "str") => self.token(argument)?,
                    (Expr::Attribute(method), [list]) if method.attr.as_str() == "join" => {
                        let Token::Text(separator) = self.token(&method.value)? else { return None };
                        let (element, sorted) = self.list(list)?;
                        Token::Join { separator, element: Box::new(element), sorted }
                    }
                    (Expr::Attribute(method), []) if method.attr.as_str() == "lower" => {
                        Token::Lower(Box::new(self.token(&method.value)?))
                    }
                    (Expr::Attribute(method), []) if method.attr.as_str() == "upper" => {
                        Token::Upper(Box::new(self.token(&method.value)?))
                    }
                    (Expr::Attribute(method), [from, to]) if method.attr.as_str() == "replace" => {
                        let inner = Box::new(self.token(&method.value)?);
                        match (self.token(from)?, self.token(to)?) {
                            (Token::Text(from), Token::Text(to)) if !from.is_empty() => {
                                Token::Replace(inner, from, to)
                            }
                            _ => return None,
                        }
                    }
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    /// What each column gives in a list of texts, and whether they are sorted.
    fn list(&mut self, expr: &'a Expr) -> Option<(Token, bool)> {
        if self.column.is_some() {
            return None;
        }
        let (element, generators) = match expr {
            Expr::Generator(generator) => (&*generator.elt, &generator.generators),
            Expr::ListComp(list) => (&*list.elt, &list.generators),
            Expr::Call(call) => {
                return match (&*call.func, &*call.arguments.args) {
                    (function, [list])
                        if is_named(function, "sorted") && call.arguments.keywords.is_empty() =>
                    {
                        Some((self.list(list)?.0, true))
                    }
                    (function, [list]) if is_named(function, "list") || is_named(function, "tuple") => {
                        self.list(list)
                    }
                    // `constraint.columns.keys()`
                    (Expr::Attribute(method), []) if method.attr.as_str() == "keys" => {
                        self.is_columns(&method.value).then_some((Token::Column, false))
                    }
                    _ => None,
                };
            }
            Expr::Attribute(attribute) if attribute.attr.as_str() == "column_keys" => {
                return self.is_constraint(&attribute.value).then_some((Token::Column, false));
            }
            _ => return None,
        };
        let [one] = &generators[..] else { return None };
        let Expr::Name(variable) = &one.target else { return None };
        let columns = match &one.iter {
            Expr::Call(call) if call.arguments.is_empty() => match &*call.func {
                Expr::Attribute(method) if matches!(method.attr.as_str(), "values" | "keys") => {
                    &*method.value
                }
                _ => return None,
            },
            Expr::Call(call) if is_named(&call.func, "list") => call.arguments.args.first()?,
            other => other,
        };
        if !one.ifs.is_empty() || one.is_async || !self.is_columns(columns) {
            return None;
        }
        self.column = Some(variable.id.as_str());
        let element = self.token(element);
        self.column = None;
        Some((element?, false))
    }

    fn is_constraint(&self, expr: &Expr) -> bool {
        is_named(expr, self.constraint)
    }

    fn is_columns(&self, expr: &Expr) -> bool {
        matches!(expr, Expr::Attribute(attribute)
            if attribute.attr.as_str() == "columns" && self.is_constraint(&attribute.value))
    }

    fn is_table(&self, expr: &Expr) -> bool {
        is_named(expr, self.table)
            || matches!(expr, Expr::Attribute(attribute)
                if attribute.attr.as_str() == "table" && self.is_constraint(&attribute.value))
    }
}

fn is_named(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Name(found) if found.id.as_str() == name)
}
