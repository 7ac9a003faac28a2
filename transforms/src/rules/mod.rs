//! One file per rule: its documentation, its check, its recipe.
//!
//! The module documentation of a rule's file is the only text about it: `safemig rule`, the table in
//! the README, the gallery in `snapshots/` and the tests read it. A new rule is one file and one
//! word in the list below.

mod context;

use std::collections::BTreeMap;

use crate::operations::Operation;
use crate::recipe::Recipe;

pub use context::Context;

/// A rule.
#[derive(Debug)]
pub struct Rule {
    module: &'static str,
    source: &'static str,
    check: fn(&Operation, &Context) -> Option<Violation>,
}

/// What a rule says about one operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// One sentence, without a full stop.
    pub message: String,
    /// The lock taken today: "SHARE on `t` while the index is built".
    pub lock: String,
    /// The steps that do the same with less, or why there are none.
    pub fix: Result<Recipe, String>,
}

macro_rules! rules {
    ($($module:ident),* $(,)?) => {
        $(mod $module;)*

        /// All rules, in the order in which they are tried: an operation belongs to the first that
        /// has something to say.
        pub const RULES: &[Rule] = &[
            $(Rule {
                module: stringify!($module),
                source: include_str!(concat!(stringify!($module), ".rs")),
                check: $module::check,
            }),*
        ];
    };
}

rules![
    only_concurrent_indexes,
    unique_constraint,
    split_foreign_key,
    split_check_constraint,
    batch_backfill,
    add_column_volatile_default,
];

impl Rule {
    /// The name of its file, which tells it apart.
    #[must_use]
    pub fn module(&self) -> &'static str {
        self.module
    }

    /// The name that users see: `only-concurrent-indexes`.
    #[must_use]
    pub fn name(&self) -> String {
        self.module.replace('_', "-")
    }

    /// Its documentation, as Markdown.
    #[must_use]
    pub fn documentation(&self) -> String {
        let lines: Vec<_> = self
            .source
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        lines.join("\n")
    }

    /// The first sentence of the documentation.
    #[must_use]
    pub fn summary(&self) -> String {
        self.documentation().lines().next().unwrap_or_default().to_owned()
    }

    /// The text below one of its headings, such as `Unsafe`.
    #[must_use]
    pub fn section(&self, heading: &str) -> Option<String> {
        let documentation = self.documentation();
        let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut current = "";
        for line in documentation.lines() {
            match line.strip_prefix("## ") {
                Some(title) => current = title,
                None => sections.entry(current).or_default().push(line),
            }
        }
        sections.get(heading).map(|lines| lines.join("\n").trim().to_owned())
    }

    /// The Python in a section's code block.
    #[must_use]
    pub fn example(&self, heading: &str) -> Option<String> {
        let section = self.section(heading)?;
        let (_, code) = section.split_once("```python\n")?;
        let (code, _) = code.split_once("```")?;
        Some(code.to_owned())
    }

    pub(crate) fn check(&self, operation: &Operation, context: &Context) -> Option<Violation> {
        (self.check)(operation, context)
    }
}

/// Find a rule by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name() == name)
}
