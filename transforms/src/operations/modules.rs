//! Modules of the project that migrations take functions from: `from app.migrations.utils import add_index`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, Stmt};
use ruff_text_size::{Ranged, TextRange};

use super::Receiver;
use crate::layout::helpers::Helper;
use crate::python::{Module, dotted};

/// Why an operation of such a function is left alone, unless it is known that all who call it agree.
pub const ELSEWHERE: &str = "it stands in a function of another module, which other revisions may call, too";

/// Parsed modules, by the names under which they are imported.
#[derive(Debug, Default, Clone)]
pub struct Modules(BTreeMap<String, Known>);

#[derive(Debug, Clone)]
struct Known {
    module: Arc<Module>,
    is_package: bool,
}

impl Modules {
    /// Add a module; a package is the module in its `__init__.py`.
    pub fn insert(&mut self, name: String, module: Module, is_package: bool) {
        self.0.insert(name, Known { module: Arc::new(module), is_package });
    }

    /// Put another text in the place of a module.
    pub(crate) fn replace(&mut self, name: &str, module: Module) {
        if let Some(known) = self.0.get_mut(name) {
            known.module = Arc::new(module);
        }
    }

    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of all modules, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The module of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Module> {
        self.0.get(name).map(|known| &*known.module)
    }

    /// The module of a function (`app.utils.add_index`), with its name, and the function's name there.
    pub(super) fn find<'a, 'b>(&'a self, path: &'b str) -> Option<(&'a str, &'a Module, &'b str)> {
        let (module, function) = path.rsplit_once('.')?;
        let (name, known) = self.0.get_key_value(module)?;
        Some((name, &known.module, function))
    }

    /// What `from .…name import …` is about in a module; `None` where it leads out of the package.
    pub(super) fn absolute(&self, module: &str, level: u32, name: &str) -> Option<String> {
        let up = level.checked_sub(u32::from(self.0.get(module)?.is_package))?;
        let mut package = module;
        for _ in 0..up {
            package = package.rsplit_once('.')?.0;
        }
        Some(if name.is_empty() { package.to_owned() } else { format!("{package}.{name}") })
    }

    /// The function of ours that a function of a module is.
    pub(super) fn helper(&self, path: &str) -> Option<Helper> {
        let (_, module, name) = self.find(path)?;
        module.body().iter().find_map(|statement| match statement {
            Stmt::FunctionDef(function) if function.name.as_str() == name => Helper::of(function),
            _ => None,
        })
    }

    /// By which names what stands at a place of a module can be reached: those of the functions and classes around
    /// it, and of those that mention them, in all modules.
    #[must_use]
    pub fn entrances(&self, module: &str, place: TextRange) -> BTreeSet<Entrance> {
        let mut found = BTreeSet::new();
        let mut new: Vec<Entrance> = self
            .get(module)
            .into_iter()
            .flat_map(Module::body)
            .filter(|statement| statement.range().contains_range(place))
            .filter_map(|statement| definition(module, statement))
            .collect();
        while let Some(entrance) = new.pop() {
            for (name, other) in &self.0 {
                let one = BTreeSet::from([entrance.clone()]);
                let other = &other.module;
                let uses = Uses::of(other, (*name == entrance.module).then_some(name.as_str()), &one);
                let around = |place: &TextRange| {
                    let statement = other.body().iter().find(|one| one.range().contains_range(*place))?;
                    definition(name, statement)
                };
                let mentions = uses.calls.iter().chain(&uses.others).filter_map(around);
                let passed_on = uses.imported.iter().map(|bound| Entrance {
                    module: name.clone(),
                    name: bound.clone(),
                    is_class: entrance.is_class,
                });
                new.extend(
                    mentions.chain(passed_on).filter(|next| *next != entrance && !found.contains(next)),
                );
            }
            found.insert(entrance);
        }
        found
    }
}

/// A function or class of a module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entrance {
    pub module: String,
    pub name: String,
    pub is_class: bool,
}

/// What a file does with functions of other modules.
#[derive(Debug, Default)]
pub struct Uses {
    /// The names under which it imports them at its top.
    pub imported: BTreeSet<String>,
    /// Statements that call a function, or make an object of a class, and do nothing else.
    pub calls: Vec<TextRange>,
    /// Any other mention.
    pub others: Vec<TextRange>,
}

impl Uses {
    /// Read a file, or the module `own` itself.
    #[must_use]
    pub fn of(file: &Module, own: Option<&str>, entrances: &BTreeSet<Entrance>) -> Self {
        let mut reader =
            Reader { entrances, names: BTreeMap::new(), modules: BTreeSet::new(), uses: Self::default() };
        if let Some(own) = own {
            let own = entrances.iter().filter(|entrance| entrance.module == own);
            reader.names.extend(own.map(|entrance| (entrance.name.clone(), entrance.is_class)));
        }
        Imports { reader: &mut reader, depth: 0 }.visit_body(file.body());
        if !reader.names.is_empty() || !reader.modules.is_empty() {
            reader.visit_body(file.body());
        }
        reader.uses
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.imported.is_empty() && self.calls.is_empty() && self.others.is_empty()
    }
}

/// Whether a caller tells the function around a place more than on what to call the operations.
#[must_use]
pub fn has_parameters(module: &Module, place: TextRange, receiver: &Receiver) -> bool {
    let is_op = |name: &str| matches!(receiver, Receiver::Op(op) if op == name);
    module.body().iter().any(|statement| match statement {
        Stmt::FunctionDef(function) if function.range().contains_range(place) => {
            function.parameters.iter().any(|parameter| !is_op(parameter.name().as_str()))
        }
        other => other.is_class_def_stmt() && other.range().contains_range(place),
    })
}

/// The function or class that a statement of a module defines.
fn definition(module: &str, statement: &Stmt) -> Option<Entrance> {
    let (name, is_class) = match statement {
        Stmt::FunctionDef(function) => (&function.name, false),
        Stmt::ClassDef(class) => (&class.name, true),
        _ => return None,
    };
    Some(Entrance { module: module.to_owned(), name: name.to_string(), is_class })
}

/// Whether two dotted names may be of one module: relative imports and other roots leave parts out.
fn is_same(imported: &str, module: &str) -> bool {
    let imported = imported.trim_start_matches('.');
    let ends = |long: &str, short: &str| {
        long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !imported.is_empty() && (ends(module, imported) || ends(imported, module))
}

/// Finds the mentions, once it is known what names stand for the functions and their modules.
struct Reader<'a> {
    entrances: &'a BTreeSet<Entrance>,
    /// What stands for one of them, and whether that is a class.
    names: BTreeMap<String, bool>,
    /// What stands for one of the modules, as an expression is spelled.
    modules: BTreeSet<String>,
    uses: Uses,
}

impl Reader<'_> {
    /// Whether an expression stands for a class; `None` when it stands for none of them.
    fn mention(&self, expr: &Expr) -> Option<bool> {
        match expr {
            Expr::Name(name) => self.names.get(name.id.as_str()).copied(),
            Expr::Attribute(attribute) => {
                let mut entrances = self.entrances.iter();
                let entrance = entrances.find(|entrance| entrance.name == attribute.attr.as_str())?;
                self.modules.contains(&dotted(&attribute.value)?.join(".")).then_some(entrance.is_class)
            }
            _ => None,
        }
    }
}

impl<'a> Visitor<'a> for Reader<'_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        let (value, is_bound) = match statement {
            Stmt::Expr(expression) => (Some(&*expression.value), false),
            // `utils = Utils(op)`: what it does is in the calls of its methods.
            Stmt::Assign(assignment) if matches!(&assignment.targets[..], [Expr::Name(_)]) => {
                (Some(&*assignment.value), true)
            }
            _ => (None, false),
        };
        if let Some(Expr::Call(call)) = value {
            // `Utils(op).drop_indexes("users")`
            let made = match &*call.func {
                Expr::Attribute(attribute) => attribute.value.as_call_expr(),
                _ => None,
            };
            if self.mention(&call.func).is_some_and(|is_class| is_class || !is_bound)
                || made.is_some_and(|made| self.mention(&made.func) == Some(true))
            {
                self.uses.calls.push(statement.range());
                let arguments = made.into_iter().chain([call]).map(|call| &call.arguments);
                arguments.into_iter().for_each(|arguments| self.visit_arguments(arguments));
                return;
            }
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if self.mention(expr).is_some() {
            self.uses.others.push(expr.range());
        } else {
            walk_expr(self, expr);
        }
    }
}

/// Finds what imports bind, wherever they stand.
struct Imports<'r, 'e> {
    reader: &'r mut Reader<'e>,
    depth: usize,
}

impl<'a> Visitor<'a> for Imports<'_, '_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        let reader = &mut *self.reader;
        match statement {
            Stmt::ImportFrom(import) => {
                let from = import.module.as_ref().map_or("", |module| module.as_str());
                for alias in &import.names {
                    let name = alias.name.as_str();
                    let bound = alias.asname.as_ref().map_or(name, |asname| asname.as_str());
                    let inside = |entrance: &&Entrance| {
                        is_same(from, &entrance.module) || (from.is_empty() && import.level > 0)
                    };
                    let mut taken = reader.entrances.iter().filter(inside);
                    if name == "*" {
                        reader.names.extend(taken.map(|entrance| (entrance.name.clone(), entrance.is_class)));
                    } else if let Some(entrance) = taken.find(|entrance| entrance.name == name) {
                        reader.names.insert(bound.to_owned(), entrance.is_class);
                        if self.depth == 0 {
                            reader.uses.imported.insert(bound.to_owned());
                        }
                    }
                    let module = if from.is_empty() { name.to_owned() } else { format!("{from}.{name}") };
                    if reader.entrances.iter().any(|entrance| is_same(&module, &entrance.module)) {
                        reader.modules.insert(bound.to_owned());
                    }
                }
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    let name = alias.name.as_str();
                    if reader.entrances.iter().any(|entrance| is_same(name, &entrance.module)) {
                        let bound = alias.asname.as_ref().map_or(name, |asname| asname.as_str());
                        reader.modules.insert(bound.to_owned());
                    }
                }
            }
            _ => {
                let inside = matches!(statement, Stmt::FunctionDef(_) | Stmt::ClassDef(_));
                self.depth += usize::from(inside);
                walk_stmt(self, statement);
                self.depth -= usize::from(inside);
            }
        }
    }

    fn visit_expr(&mut self, _: &'a Expr) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(source: &str) -> Module {
        Module::parse(source.to_owned()).expect("Python")
    }

    fn entrance(module: &str, name: &str) -> Entrance {
        Entrance {
            module: module.to_owned(),
            name: name.to_owned(),
            is_class: name.starts_with(char::is_uppercase),
        }
    }

    #[test]
    fn every_way_to_take_a_function_is_a_use() {
        let entrances =
            BTreeSet::from([entrance("app.db.utils", "add_index"), entrance("app.db.utils", "Adder")]);
        let count = |source: &str| {
            let uses = Uses::of(&module(source), None, &entrances);
            (uses.calls.len(), uses.others.len())
        };
        for (source, expected) in [
            ("from app.db.utils import add_index\nadd_index('a')", (1, 0)),
            ("from app.db.utils import add_index as add\ndef upgrade():\n    add('a')", (1, 0)),
            ("def upgrade():\n    from app.db import utils\n    utils.add_index('a')", (1, 0)),
            ("import app.db.utils\napp.db.utils.add_index('a')", (1, 0)),
            ("from .utils import add_index\nx, y = add_index('a')", (0, 1)),
            ("from .utils import add_index\nx = add_index('a')", (0, 1)),
            ("from .utils import Adder\nx = Adder(op)", (1, 0)),
            ("from .utils import Adder\nAdder(op).drop('a')", (1, 0)),
            ("from . import utils\npartial(utils.add_index, 'a')", (0, 1)),
            ("from app.db.utils import *\nadd_index('a')\nadd_index", (1, 1)),
            ("from app.other import add_index\nadd_index('a')", (0, 0)),
            ("def add_index(): pass\nadd_index()", (0, 0)),
        ] {
            assert_eq!(count(source), expected, "{source}");
        }
    }

    #[test]
    fn entrances_are_all_functions_that_lead_to_a_place() {
        let mut modules = Modules::default();
        let source = "def inner():\n    op.x()\ndef outer():\n    inner()\ndef other():\n    pass\n";
        modules.insert("app.utils".to_owned(), module(source), false);
        modules.insert("app".to_owned(), module("from app.utils import outer as add\n"), true);
        let place = TextRange::at(17.into(), 6.into());
        let found = modules.entrances("app.utils", place);
        let expected =
            [entrance("app", "add"), entrance("app.utils", "inner"), entrance("app.utils", "outer")];
        assert_eq!(found, expected.into());
    }
}
