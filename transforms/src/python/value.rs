//! What an expression is known to be, without running it.

use ruff_text_size::TextRange;

/// A statically known value. What is not known is [`Value::Unknown`], never a guess.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Str(String),
    /// Text that is not known, or only in part, but is the same wherever it is spelled the same:
    /// `{prefix}users` for `f"{prefix}users"`.
    Partial(String),
    /// `sa.text("…")` or `sa.literal_column("…")`: SQL, not a name.
    Sql(String),
    /// `sa.table("…")` or `sa.Table("…", …)`.
    Table {
        name: String,
        schema: Option<String>,
        /// The call, of a file that is not told.
        call: TextRange,
    },
    /// A list, tuple or set.
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// The `alembic.op` proxy, under whatever name.
    Op,
    /// A function of `alembic.op`, imported by itself.
    OpFunction(String),
    /// Something imported from a module that may do anything to the database.
    Foreign(String),
    /// A class of the file, with what its body assigns.
    Class(Vec<(String, Value)>),
    /// An object of a class that the project defines.
    Object(Box<Object>),
    /// A function of the file that only computes this.
    Function(Box<Value>),
    /// Not the same on every database.
    ByDialect(Vec<(&'static str, Value)>),
    /// The `alembic` package.
    Alembic,
    /// `alembic.context` or what `op.get_context()` returns.
    Context,
    /// `op.get_bind()`, or what was made from it.
    Bind,
    /// A dialect object.
    Dialect,
    /// `dialect.name`.
    DialectName,
    /// The object of `with op.batch_alter_table(...) as batch_op`.
    Batch(BatchId),
    Unknown,
}

/// An object of a class of a module, or of the file itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// `None` for the file itself.
    pub module: Option<String>,
    pub class: String,
    /// What `__init__` sets once and for all.
    pub attributes: Vec<(String, Value)>,
}

/// Which `with op.batch_alter_table(...)` block: the place of its call.
pub type BatchId = TextRange;

impl Value {
    /// The text, when it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The text, or what stands for text that is only known in part.
    #[must_use]
    pub fn symbol(&self) -> Option<&str> {
        match self {
            Value::Str(text) | Value::Partial(text) => Some(text),
            _ => None,
        }
    }

    /// Whether Python would take it for true; `None` when it can't be known.
    #[must_use]
    pub fn truth(&self) -> Option<bool> {
        match self {
            Value::None => Some(false),
            Value::Bool(value) => Some(*value),
            Value::Int(value) => Some(*value != 0),
            Value::Str(value) => Some(!value.is_empty()),
            Value::List(values) => Some(!values.is_empty()),
            Value::Dict(values) => Some(!values.is_empty()),
            Value::Unknown | Value::Partial(_) | Value::ByDialect(_) | Value::Foreign(_) => None,
            _ => Some(true),
        }
    }
}

/// An argument of a call: what it is, and where it stands in the source.
#[derive(Debug, Clone, PartialEq)]
pub struct Arg {
    pub value: Value,
    /// Where the author wrote it; `None` for an argument that was left out.
    pub range: Option<TextRange>,
    /// Whether it is spelled as one plain literal, so that its value may be repeated elsewhere.
    pub literal: bool,
    /// Spelled `op.f(…)`: a naming convention leaves it alone.
    pub exact: bool,
    /// How it is spelled as an expression, where that is not the source of `range`.
    pub code: Option<String>,
}

impl Arg {
    /// A text that stands nowhere in the source.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self { value: Value::Str(text.to_owned()), range: None, literal: true, exact: false, code: None }
    }

    /// An argument that is not there.
    #[must_use]
    pub fn absent() -> Self {
        Self { value: Value::None, range: None, literal: true, exact: false, code: None }
    }

    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.value.as_str()
    }

    /// Whether its text may be repeated elsewhere.
    #[must_use]
    pub fn is_spelled_out(&self) -> bool {
        self.literal || (self.range.is_none() && self.code.is_none())
    }

    /// Not given, or spelled as `None`: another expression may be something else at another time.
    #[must_use]
    pub fn is_left_out(&self) -> bool {
        self.is_none() && self.is_spelled_out()
    }

    /// Not given, or given as `None`.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.value == Value::None
    }
}

/// The databases that a migration may run on, as far as its own conditions tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialects(u8);

impl Dialects {
    /// The names that stand for each group; the first is what a condition is evaluated with.
    const NAMES: [&'static str; 6] = ["postgresql", "sqlite", "mysql", "mariadb", "oracle", "mssql"];
    pub const POSTGRESQL: Self = Self(1);
    pub const SQLITE: Self = Self(2);
    pub const ALL: Self = Self(0b11_1111);
    pub const NONE: Self = Self(0);

    /// Every dialect with its SQLAlchemy name.
    pub fn each() -> impl Iterator<Item = (Self, &'static str)> {
        Self::NAMES.iter().enumerate().map(|(bit, name)| (Self(1 << bit), *name))
    }

    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Runs on PostgreSQL and nowhere else.
    #[must_use]
    pub fn only_postgresql(self) -> bool {
        self == Self::POSTGRESQL
    }
}
