//! The models of an application: which class stands for which table, with which columns and indexes.
//!
//! Read are declarative classes (`mapped_column`, `Column`, `Mapped[…]`, `__table_args__`), their mixins
//! and abstract bases, `Table(…)`, classes of `SQLModel` and Flask-SQLAlchemy's `db.Model`.
//!
//! **Architecture Invariant:** what can't be read makes a table incomplete, or leaves a class out; nothing
//! is guessed.

mod classes;
mod columns;
mod names;
mod tables;

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{Expr, StmtClassDef};
use ruff_text_size::TextRange;

use self::classes::collect_classes;
pub(super) use self::names::dotted;
use self::names::imports;
use super::File;
use crate::catalog::Index;
use crate::operations::{Functions, IndexElement, TableName};
use crate::python::scope::Scope;
use crate::types::Type;

/// Everything that the files of an application say about its tables.
#[derive(Debug, Default)]
pub(super) struct Models<'a> {
    pub(super) models: Vec<Model>,
    pub(super) tables: BTreeMap<TableName, ModelTable>,
    /// Variables that hold a `Table(…)`: by file and name.
    pub(super) variables: BTreeMap<(usize, String), TableName>,
    by_name: BTreeMap<String, Vec<usize>>,
    variables_by_name: BTreeMap<String, BTreeSet<TableName>>,
    /// What each file imports: the name there, where from, and what it is called there.
    imports: Vec<BTreeMap<String, Import>>,
    /// Names of classes that are enums.
    enums: BTreeSet<String>,
    scopes: Vec<Scope>,
    classes: BTreeMap<String, Vec<Class<'a>>>,
    /// Parts of the paths of the files: what an absolute import of the application starts with.
    packages: BTreeSet<String>,
}

/// A class that stands for a table.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) file: usize,
    pub(super) name: String,
    /// Its own table.
    pub(super) table: TableName,
    pub(super) attributes: BTreeMap<String, Attribute>,
    /// The class.
    pub(super) range: TextRange,
}

/// An attribute of a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attribute {
    Column { table: TableName, column: String },
    Relationship(Relationship),
}

/// `relationship(…)`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Relationship {
    /// The name of the other class.
    pub(super) target: Option<String>,
    /// It goes over a third table.
    #[expect(
        clippy::option_option,
        reason = "nothing, something that is not known, and something are three answers"
    )]
    pub(super) secondary: Option<Option<TableName>>,
    /// It has a condition or a loader of its own.
    pub(super) special: bool,
    /// It is loaded with every row of its class, whoever asks for that.
    pub(super) eager: bool,
    /// The one that the other class gets, which leads back.
    pub(super) backref: Option<Backref>,
    pub(super) range: TextRange,
    pub(super) file: usize,
}

/// `backref=…`
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Backref {
    /// `None` when it is not known.
    pub(super) name: Option<String>,
    pub(super) eager: bool,
}

/// A table as the models declare it.
#[derive(Debug)]
pub(super) struct ModelTable {
    pub(super) columns: Vec<ModelColumn>,
    pub(super) indexes: Vec<ModelIndex>,
    /// All of its indexes could be read.
    pub(super) complete: bool,
    pub(super) file: usize,
    /// Its class has no `__table_args__`, and a base has.
    pub(super) inherits_arguments: bool,
    /// Its class has `__table_args__` in the place of those of a base.
    pub(super) hides_arguments: bool,
    /// The class that declares it; a `Table(…)` has none.
    pub(super) class: Option<TextRange>,
    /// Where it is declared.
    pub(super) place: TextRange,
}

impl ModelTable {
    /// Whether a column alone is unique.
    pub(super) fn is_unique(&self, column: &str) -> bool {
        self.indexes.iter().any(|known| {
            known.index.unique
                && matches!(&known.index.elements[..], [IndexElement::Column(name)] if name == column)
        })
    }
}

/// What a column holds, as the words of its declaration say, whosever types those are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Date,
    Text,
    Uuid,
    Other,
}

/// A column.
#[derive(Debug, Clone)]
pub(super) struct ModelColumn {
    pub(super) name: String,
    pub(super) nullable: bool,
    /// Rows get a value of it when they are made.
    pub(super) has_default: bool,
    /// Its type, where that is SQLAlchemy's own.
    pub(super) type_: Option<Type>,
    pub(super) holds: Holds,
    /// The table and column that it references.
    pub(super) foreign: Option<(TableName, String)>,
    /// The class of the table declares it, not one of its bases.
    pub(super) own: bool,
    /// The call that does.
    pub(super) call: Option<TextRange>,
}

/// An index.
#[derive(Debug, Clone)]
pub(super) struct ModelIndex {
    pub(super) name: Option<String>,
    pub(super) index: Index,
    /// `Index(…)`, or the column's call.
    pub(super) range: TextRange,
    pub(super) file: usize,
    /// `index=True`.
    pub(super) inline: bool,
}

impl ModelIndex {
    /// What it is called in a message: by its columns, where the metadata name it.
    pub(super) fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("`{name}`"),
            None => format!("over {}", self.columns()),
        }
    }

    /// `(a, b)`.
    pub(super) fn columns(&self) -> String {
        let columns: Vec<_> = self.index.elements.iter().map(ToString::to_string).collect();
        format!("({})", columns.join(", "))
    }
}

#[derive(Debug, Clone, Copy)]
struct Class<'a> {
    file: usize,
    definition: &'a StmtClassDef,
}

#[derive(Debug, Clone)]
struct Import {
    /// `app.models`, with the dots of a relative import in front.
    module: String,
    /// Empty for a module.
    name: String,
}

impl<'a> Models<'a> {
    pub(super) fn read(files: &'a [File]) -> Self {
        let mut models = Self::default();
        for (index, file) in files.iter().enumerate() {
            for part in file.path.split('/') {
                models.packages.insert(part.trim_end_matches(".py").to_owned());
            }
            models.scopes.push(Functions::new(&file.module).scope().clone());
            models.imports.push(imports(file.module.body()));
            collect_classes(file.module.body(), index, &mut models.classes);
        }
        models.enums = models
            .classes
            .iter()
            .filter(|(_, classes)| classes.iter().any(|class| models.is_enum(*class, 0)))
            .map(|(name, _)| name.clone())
            .collect();
        for (index, file) in files.iter().enumerate() {
            models.table_variables(file.module.body(), index);
        }
        let all: Vec<Class> = models.classes.values().flatten().copied().collect();
        for class in all {
            models.add_class(class);
        }
        for (index, model) in models.models.iter().enumerate() {
            models.by_name.entry(model.name.clone()).or_default().push(index);
        }
        for ((_, name), table) in &models.variables {
            models.variables_by_name.entry(name.clone()).or_default().insert(table.clone());
        }
        for (index, file) in files.iter().enumerate() {
            models.loose_indexes(file.module.body(), index);
        }
        models
    }

    /// The model that a name of a file stands for.
    pub(super) fn model(&self, file: usize, name: &str) -> Option<usize> {
        let wanted = match self.imports.get(file)?.get(name) {
            Some(import) if !self.is_ours(import) || import.name.is_empty() => return None,
            Some(import) => import.name.as_str(),
            None => name,
        };
        let candidates = self.by_name.get(wanted)?;
        if let Some(here) = candidates.iter().find(|model| self.models[**model].file == file) {
            return Some(*here);
        }
        if !self.imports[file].contains_key(name) {
            return None;
        }
        let [one] = candidates[..] else { return None };
        Some(one)
    }

    /// The model that an attribute of an imported module stands for: `models.User`.
    pub(super) fn model_of_module(&self, file: usize, module: &str, name: &str) -> Option<usize> {
        let import = self.imports.get(file)?.get(module)?;
        let [one] = self.by_name.get(name)?[..] else { return None };
        self.is_ours(import).then_some(one)
    }

    /// The model of a class of this name, wherever it is.
    pub(super) fn model_named(&self, name: &str, file: usize) -> Option<usize> {
        let name = name.rsplit('.').next().unwrap_or(name);
        let candidates = self.by_name.get(name)?;
        let here = candidates.iter().find(|model| self.models[**model].file == file);
        here.copied().or(match candidates[..] {
            [one] => Some(one),
            _ => None,
        })
    }

    /// The table that a variable holds.
    pub(super) fn variable(&self, file: usize, name: &str) -> Option<&TableName> {
        if let Some(table) = self.variables.get(&(file, name.to_owned())) {
            return Some(table);
        }
        let import = self.imports.get(file)?.get(name).filter(|import| self.is_ours(import))?;
        let tables = self.variables_by_name.get(&import.name)?;
        if tables.len() == 1 { tables.first() } else { None }
    }

    /// Whether a name of a file comes from the application itself.
    fn is_ours(&self, import: &Import) -> bool {
        import.module.starts_with('.')
            || import.module.split('.').next().is_some_and(|root| self.packages.contains(root))
    }

    pub(super) fn is_imported(&self, file: usize, name: &str) -> bool {
        self.imports.get(file).is_some_and(|imports| imports.contains_key(name))
    }

    /// Whether an expression is a member of an enum: `Status.DONE`.
    pub(super) fn is_enum_member(&self, expression: &Expr) -> bool {
        match expression {
            Expr::Attribute(attribute) => match &*attribute.value {
                Expr::Name(name) => self.enums.contains(name.id.as_str()),
                inner => self.is_enum_member(inner),
            },
            _ => false,
        }
    }

    pub(super) fn column(&self, table: &TableName, column: &str) -> Option<&ModelColumn> {
        self.tables.get(table)?.columns.iter().find(|known| known.name == column)
    }
}

/// Stands for the name of a primary key's index.
pub(super) const PRIMARY: &str = "(primary key)";
