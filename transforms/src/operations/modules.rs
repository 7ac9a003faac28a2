//! Modules of the project that migrations take functions from: `from app.migrations.utils import add_index`.

use std::collections::BTreeMap;

use ruff_python_ast::Stmt;

use crate::layout::helpers::Helper;
use crate::python::Module;

/// Parsed modules, by the names under which they are imported.
#[derive(Debug, Default)]
pub struct Modules(BTreeMap<String, Module>);

impl Modules {
    pub fn insert(&mut self, name: String, module: Module) {
        self.0.insert(name, module);
    }

    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The module of a function (`app.utils.add_index`), and its name there.
    pub(super) fn find<'a, 'b>(&'a self, path: &'b str) -> Option<(&'a Module, &'b str)> {
        let (module, function) = path.rsplit_once('.')?;
        Some((self.0.get(module)?, function))
    }

    /// The function of ours that a function of a module is.
    pub(super) fn helper(&self, path: &str) -> Option<Helper> {
        let (module, name) = self.find(path)?;
        module.body().iter().find_map(|statement| match statement {
            Stmt::FunctionDef(function) if function.name.as_str() == name => Helper::of(function),
            _ => None,
        })
    }
}
