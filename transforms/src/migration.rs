//! A revision file, parsed: who it is, whom it follows, and what it does.

use std::sync::Arc;

use ruff_text_size::TextRange;

use crate::operations::{Functions, Modules, Walked};
use crate::python::value::Value;
use crate::python::{Module, SyntaxError};
use crate::suppression::Suppressions;

/// A parsed revision file.
#[derive(Debug)]
pub struct Migration {
    /// The path as it is to be reported.
    pub path: String,
    pub module: Module,
    pub revision: String,
    /// More than one for a merge; none for a base.
    pub down_revisions: Vec<String>,
    /// Revisions or branch labels that must have run before.
    pub depends_on: Vec<String>,
    pub branch_labels: Vec<String>,
    pub upgrade: Walked,
    pub downgrade: Walked,
    pub suppressions: Suppressions,
    /// Where `revision = …` stands.
    pub revision_range: TextRange,
    /// The modules whose functions it calls, as far as they are known.
    pub modules: Arc<Modules>,
}

/// What a Python file turned out to be.
#[derive(Debug)]
pub enum Parsed {
    Migration(Box<Migration>),
    /// It has no `revision` and `down_revision`.
    Other,
}

/// The two functions of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    Upgrade,
    Downgrade,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::Upgrade, Self::Downgrade];
}

impl Migration {
    /// Parse a file. A file is a revision when it assigns `revision` and `down_revision`.
    ///
    /// # Errors
    /// A file that is no Python 3.
    pub fn parse(path: String, source: String) -> Result<Parsed, SyntaxError> {
        Self::parse_with(path, source, Arc::default())
    }

    /// Parse a file that calls functions of `modules`.
    ///
    /// # Errors
    /// A file that is no Python 3.
    pub fn parse_with(path: String, source: String, modules: Arc<Modules>) -> Result<Parsed, SyntaxError> {
        if !source.contains("down_revision") {
            return Ok(Parsed::Other);
        }
        let module = Module::parse(source)?;
        let functions = Functions::with(&module, Some(&modules));
        let scope = functions.scope();
        let (Some(Value::Str(revision)), Some(down)) = (scope.get("revision"), scope.get("down_revision"))
        else {
            return Ok(Parsed::Other);
        };
        let revision = revision.clone();
        let down_revisions = strings(Some(down));
        let depends_on = strings(scope.get("depends_on"));
        let branch_labels = strings(scope.get("branch_labels"));
        let upgrade = functions.walk("upgrade");
        let downgrade = functions.walk("downgrade");
        let suppressions = Suppressions::read(&module);
        let revision_range = assignment(&module, "revision");
        Ok(Parsed::Migration(Box::new(Self {
            path,
            module,
            revision,
            down_revisions,
            depends_on,
            branch_labels,
            upgrade,
            downgrade,
            suppressions,
            revision_range,
            modules,
        })))
    }

    /// Parse another text of the same file.
    ///
    /// # Errors
    /// A file that is no Python 3.
    pub fn edited(&self, source: String) -> Result<Parsed, SyntaxError> {
        Self::parse_with(self.path.clone(), source, Arc::clone(&self.modules))
    }

    /// The functions of other modules that it calls, and that could not be read.
    pub fn foreign(&self) -> impl Iterator<Item = &str> {
        self.upgrade.foreign.iter().chain(&self.downgrade.foreign).map(String::as_str)
    }

    /// What it may take from other modules: functions that could not be read, and types of columns.
    pub fn needed(&self) -> impl Iterator<Item = &str> {
        let types = self.upgrade.types.iter().chain(&self.downgrade.types).map(String::as_str);
        self.foreign().chain(types)
    }

    /// Read the operations again, with the modules that it calls.
    pub fn resolve(&mut self, modules: &Arc<Modules>) {
        let functions = Functions::with(&self.module, Some(modules));
        (self.upgrade, self.downgrade) = (functions.walk("upgrade"), functions.walk("downgrade"));
        self.modules = Arc::clone(modules);
    }

    /// What `alembic history` prints behind the id: the first paragraph of the docstring.
    #[must_use]
    pub fn doc(&self) -> String {
        let doc = self.module.docstring().unwrap_or_default();
        doc.trim().split("\n\n").next().unwrap_or_default().to_owned()
    }

    /// What one of its functions does.
    #[must_use]
    pub fn walked(&self, direction: Direction) -> &Walked {
        match direction {
            Direction::Upgrade => &self.upgrade,
            Direction::Downgrade => &self.downgrade,
        }
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Str(one)) => vec![one.clone()],
        Some(Value::List(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn assignment(module: &Module, name: &str) -> TextRange {
    use ruff_python_ast::{Expr, Stmt};
    use ruff_text_size::Ranged;
    let is_name = |expr: &Expr| matches!(expr, Expr::Name(target) if target.id.as_str() == name);
    module
        .body()
        .iter()
        .find(|statement| match statement {
            Stmt::Assign(assignment) => assignment.targets.iter().any(is_name),
            Stmt::AnnAssign(assignment) => is_name(&assignment.target),
            _ => false,
        })
        .map_or_else(TextRange::default, Ranged::range)
}
