//! A module beside the history that has the helper functions, so that the migrations only import it.
//!
//! ```python
//! from app.migrations import safemig_ops
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         safemig_ops.drop_invalid_index("ix_user_email")
//! ```

use std::collections::BTreeSet;

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr, Stmt};
use ruff_text_size::{Ranged, TextSize};

use super::Layout;
use super::helpers::{ALL, Helper};
use crate::operations::Functions;
use crate::python::Module;
use crate::python::edit::{self, Edit};
use crate::python::is_docstring;
use crate::python::value::Value;

const NEW: &str =
    "\"\"\"Functions that rewritten migrations call. Written by safemig.\"\"\"\n\nfrom alembic import op\n";

/// The module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportModule {
    name: String,
    /// What is in it so far; `None` where it is not there yet.
    source: Option<String>,
}

impl SupportModule {
    /// The module that is imported as `name`, and what is in it.
    ///
    /// # Errors
    /// Why it can't have the functions.
    pub fn new(name: String, source: Option<String>) -> Result<Self, String> {
        let module = Module::parse(source.clone().unwrap_or_else(|| NEW.to_owned()));
        let module = module.map_err(|error| format!("`{name}` is no Python: {}", error.message))?;
        for statement in module.body() {
            let Stmt::FunctionDef(function) = statement else { continue };
            let other = ALL.into_iter().find(|helper| helper.spelled() == function.name.as_str());
            if other.is_some() && Helper::of(function).is_none() {
                return Err(format!("`{name}` has another function `{}`", function.name));
            }
        }
        Ok(Self { name, source })
    }

    /// The name under which it is imported, such as `app.migrations.safemig_ops`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its text as it stands.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The module with all functions: as migrations find it in the end.
    #[must_use]
    pub fn whole(&self) -> Option<Module> {
        let text = self.with(&ALL.into_iter().collect());
        Module::parse(text.or_else(|| self.source.clone())?).ok()
    }

    /// Its text with the functions that rewritten migrations call; `None` when it has all of them.
    #[must_use]
    pub fn with_functions_of<'a>(&self, migrations: impl Iterator<Item = &'a str>) -> Option<String> {
        let mut helpers = BTreeSet::new();
        for source in migrations {
            let Ok(module) = Module::parse(source.to_owned()) else { continue };
            let functions = Functions::new(&module);
            let Some(alias) = functions.scope().name_of(&Value::Foreign(self.name.clone())) else { continue };
            let mut called = Called { alias, helpers: BTreeSet::new() };
            called.visit_body(module.body());
            helpers.append(&mut called.helpers);
        }
        if helpers.is_empty() {
            return None;
        }
        let needed: Vec<_> = helpers.iter().flat_map(|helper| helper.needs()).copied().collect();
        helpers.extend(needed);
        self.with(&helpers)
    }

    /// Its text with these functions; `None` when it has all of them.
    fn with(&self, helpers: &BTreeSet<Helper>) -> Option<String> {
        let module = Module::parse(self.source.clone().unwrap_or_else(|| NEW.to_owned())).ok()?;
        super::with_helpers(&module, helpers)
    }
}

/// The functions that are called on the module's name.
struct Called<'a> {
    alias: &'a str,
    helpers: BTreeSet<Helper>,
}

impl<'a> Visitor<'a> for Called<'_> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Attribute(attribute) = expr
            && matches!(&*attribute.value, Expr::Name(name) if name.id == self.alias)
        {
            self.helpers.extend(ALL.into_iter().find(|helper| helper.spelled() == attribute.attr.as_str()));
        }
        walk_expr(self, expr);
    }
}

/// What a migration calls the module, and whether it imports it already.
pub(super) struct Alias {
    pub(super) name: String,
    /// The module's dotted name, where it is still to be imported.
    missing: Option<String>,
}

impl Alias {
    /// The name in a file; `None` when the file uses it for something else.
    pub(super) fn find(module: &Module, support: &str) -> Option<Self> {
        let functions = Functions::new(module);
        if let Some(name) = functions.scope().name_of(&Value::Foreign(support.to_owned())) {
            return Some(Self { name: name.to_owned(), missing: None });
        }
        let name = support.rsplit('.').next()?;
        let taken = module.tokens().iter().any(|token| module.text(token.range()) == name);
        (!taken).then(|| Self { name: name.to_owned(), missing: Some(support.to_owned()) })
    }
}

impl Layout<'_> {
    /// The import of the module behind the others, unless it is there.
    pub(super) fn import_support(&self) -> Option<Edit> {
        let missing = self.printer.support?.missing.as_deref()?;
        let statement = match missing.rsplit_once('.') {
            Some((package, module)) => format!("from {package} import {module}"),
            None => format!("import {missing}"),
        };
        let newline = self.renderer.newline();
        let is_import = |statement: &&Stmt| matches!(statement, Stmt::Import(_) | Stmt::ImportFrom(_));
        let body = self.module.body();
        let Some(last) = body.iter().rfind(is_import) else {
            let first = body.iter().find(|statement| is_docstring(statement));
            let at = first.map_or(TextSize::default(), |first| self.renderer.line_end(first.end()));
            return Some(edit::insert(at, format!("{newline}{newline}{statement}")));
        };
        let imported = match last {
            Stmt::ImportFrom(import) => import.module.as_ref().map(ruff_python_ast::Identifier::as_str),
            Stmt::Import(import) => import.names.first().map(|alias| alias.name.as_str()),
            _ => None,
        };
        let root = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let same_group = imported.is_some_and(|imported| root(imported) == root(missing));
        let blank = if same_group { "" } else { newline };
        Some(edit::insert(self.renderer.line_end(last.end()), format!("{newline}{blank}{statement}")))
    }
}
