//! One file per rule: its documentation, its check, its recipe.
//!
//! The module documentation of a rule's file is the only text about it: `safemig rule`, the table in
//! the README, the gallery in `snapshots/` and the tests read it. A new rule is one file and one
//! word in the list below.

mod context;

use std::collections::BTreeMap;

use crate::application::{self, Study};
use crate::environment::{self, Environment};
use crate::operations::Operation;
use crate::recipe::Recipe;
use crate::settings::Settings;
use crate::suppression::Examined;

pub use context::Context;

/// A rule.
#[derive(Debug)]
pub struct Rule {
    module: &'static str,
    source: &'static str,
    check: Check,
}

/// What a rule is asked about.
#[derive(Debug, Clone, Copy)]
enum Check {
    /// How one operation of a revision runs. It belongs to the first such rule that has something to say.
    Operation(fn(&Operation, &Context) -> Option<Violation>),
    /// What one operation of a revision leads to, however it runs: said in addition.
    Design(fn(&Operation, &Context) -> Option<Violation>),
    /// The same, and what the models of an application declare.
    Schema(fn(&Operation, &Context) -> Option<Violation>, ApplicationCheck),
    /// All of an application.
    Application(ApplicationCheck),
    /// One operation, for the case that no other rule changes it.
    Remaining(fn(&Operation, &Context) -> Option<Violation>),
    /// All of an `env.py`.
    Environment(fn(&Environment, &Settings) -> Vec<environment::Violation>),
    /// One comment that suppresses others; what is wrong with it.
    Suppression(fn(&Examined) -> Option<String>),
}

type ApplicationCheck = fn(&Study) -> Vec<application::Violation>;

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

macro_rules! check {
    (Schema, $module:ident) => {
        Check::Schema($module::check, $module::check_models)
    };
    ($check:ident, $module:ident) => {
        Check::$check($module::check)
    };
}

macro_rules! rules {
    ($($check:ident: $($module:ident),* $(,)?;)*) => {
        rules![@ $($($module $check,)*)*];
    };
    (@ $($module:ident $check:ident,)*) => {
        $(mod $module;)*

        /// All rules, in the order in which they are tried.
        pub const RULES: &[Rule] = &[
            $(Rule {
                module: stringify!($module),
                source: include_str!(concat!(stringify!($module), ".rs")),
                check: check!($check, $module),
            }),*
        ];
    };
}

rules![
    Operation:
        only_concurrent_indexes,
        unique_constraint,
        split_foreign_key,
        split_check_constraint,
        split_not_null,
        change_column_type,
        primary_key,
        batch_backfill,
        add_column_volatile_default,
        add_column_not_null,
        add_column_inline_constraint,
        drop_column,
        drop_table,
        rename_column,
        rename_table,
        enum_value_in_transaction,
        prefer_jsonb,
        truncate_table,
        exclude_constraint;
    Design:
        limit_non_unique_index;
    Schema:
        ensure_index_not_covered;
    Application:
        verify_query_patterns_are_indexed;
    Remaining:
        lock_timeout;
    Environment:
        transaction_per_migration;
    Suppression:
        unused_ignore;
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
        match self.check {
            Check::Operation(check)
            | Check::Remaining(check)
            | Check::Design(check)
            | Check::Schema(check, _) => check(operation, context),
            Check::Application(_) | Check::Environment(_) | Check::Suppression(_) => None,
        }
    }

    /// Whether it judges what an operation leads to, and not how it runs.
    #[must_use]
    pub fn is_about_design(&self) -> bool {
        matches!(self.check, Check::Design(_) | Check::Schema(..))
    }

    pub(crate) fn check_application(&self, study: &Study) -> Vec<application::Violation> {
        match self.check {
            Check::Application(check) | Check::Schema(_, check) => check(study),
            Check::Operation(_)
            | Check::Remaining(_)
            | Check::Design(_)
            | Check::Environment(_)
            | Check::Suppression(_) => Vec::new(),
        }
    }

    pub(crate) fn check_environment(
        &self,
        environment: &Environment,
        settings: &Settings,
    ) -> Vec<environment::Violation> {
        match self.check {
            Check::Operation(_)
            | Check::Remaining(_)
            | Check::Design(_)
            | Check::Schema(..)
            | Check::Suppression(_)
            | Check::Application(_) => Vec::new(),
            Check::Environment(check) => check(environment, settings),
        }
    }

    pub(crate) fn check_suppression(&self, examined: &Examined) -> Option<String> {
        match self.check {
            Check::Suppression(check) => check(examined),
            _ => None,
        }
    }

    /// Whether it is about the comments that suppress others.
    #[must_use]
    pub fn is_about_suppressions(&self) -> bool {
        matches!(self.check, Check::Suppression(_))
    }

    /// Whether it is about the application alone, and not about revisions.
    #[must_use]
    pub fn is_about_application(&self) -> bool {
        matches!(self.check, Check::Application(_))
    }

    /// Whether it has something to say about an application.
    #[must_use]
    pub fn reads_application(&self) -> bool {
        matches!(self.check, Check::Application(_) | Check::Schema(..))
    }

    /// Whether it is about operations that stay as they are.
    pub(crate) fn is_about_remaining(&self) -> bool {
        matches!(self.check, Check::Remaining(_))
    }

    /// Whether it is about `env.py`, and not about revisions.
    #[must_use]
    pub fn is_about_environment(&self) -> bool {
        matches!(self.check, Check::Environment(_))
    }
}

/// Find a rule by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name() == name)
}
