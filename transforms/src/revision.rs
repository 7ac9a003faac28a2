//! A new revision at the head of a history, in the style of the one before it.
//!
//! It is written as autogenerate would write it; the rules make it safe like any other.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ruff_python_ast::{Expr, Stmt, StmtFunctionDef};
use ruff_text_size::Ranged;

use crate::catalog::{Catalog, Index};
use crate::migration::Migration;
use crate::operations::{IndexElement, IndexOptions, TableName};

/// One thing that a new revision does; its downgrade undoes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    CreateIndex(NewIndex),
    DropIndex(NewIndex),
}

/// Why one of two unique indexes is not dropped.
pub(crate) const RESTED_ON: &str = "a foreign key may rest on it: drop the one that none does";

/// All that is known about an index.
#[derive(Debug, Clone, PartialEq)]
pub struct NewIndex {
    pub name: String,
    pub table: TableName,
    pub unique: bool,
    pub elements: Vec<IndexElement>,
    pub options: IndexOptions,
}

impl NewIndex {
    /// An index of the catalog, so that it can be built again.
    ///
    /// # Errors
    /// That something about it is not known.
    pub fn of(name: &str, index: &Index) -> Result<Self, String> {
        let known = |element: &IndexElement| *element != IndexElement::Expression(None);
        if index.options.unclear
            || index.options.predicate == Some(None)
            || !index.elements.iter().all(known)
            // What is not known has a symbol: `{prefix}`.
            || name.contains('{')
            || index.table.to_string().contains('{')
        {
            return Err(format!(
                "not all of index `{name}` is known, so that a downgrade could not build it again"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            table: index.table.clone(),
            unique: index.unique,
            elements: index.elements.clone(),
            options: index.options.clone(),
        })
    }
}

/// What a new revision is to do, as far as it fits together.
#[derive(Debug)]
pub struct Steps<'a> {
    /// What is there before it.
    end: &'a Catalog,
    /// Indexes of that which fixes leave out, by schema and name.
    left_out: BTreeSet<(Option<String>, String)>,
    /// Steps that a new revision can't do, and why.
    refused: Vec<(Step, String)>,
    steps: Vec<Step>,
}

impl<'a> Steps<'a> {
    #[must_use]
    pub fn new(
        end: &'a Catalog,
        left_out: BTreeSet<(Option<String>, String)>,
        refused: Vec<(Step, String)>,
    ) -> Self {
        Self { end, left_out, refused, steps: Vec::new() }
    }

    /// Take steps that belong together. An index that is left out is not dropped again.
    ///
    /// # Errors
    /// One of them is refused, or what covers an index that they drop goes away, too; none of them is taken.
    pub fn add<'s>(&mut self, more: impl IntoIterator<Item = &'s Step>) -> Result<(), String> {
        let before = self.steps.len();
        for step in more {
            if self.is_done(step) {
                continue;
            }
            if let Some((_, reason)) = self.refused.iter().find(|(refused, _)| refused == step) {
                self.steps.truncate(before);
                return Err(reason.clone());
            }
            self.steps.push(step.clone());
        }
        let is_covered = |step: &Step| match step {
            Step::DropIndex(index) => self.covers(index),
            Step::CreateIndex(_) => true,
        };
        if let Some(Step::DropIndex(index)) = self.steps.iter().find(|step| !is_covered(step)) {
            let reason = format!("what covers `{}` is to be dropped as well", index.name);
            self.steps.truncate(before);
            return Err(reason);
        }
        Ok(())
    }

    #[must_use]
    pub fn all(&self) -> &[Step] {
        &self.steps
    }

    /// Whether a step is one of them, or not needed.
    #[must_use]
    pub fn is_done(&self, step: &Step) -> bool {
        match step {
            Step::DropIndex(index) => !self.has(index.table.schema.as_deref(), &index.name),
            Step::CreateIndex(_) => self.steps.contains(step),
        }
    }

    /// Whether an index is still there.
    fn has(&self, schema: Option<&str>, name: &str) -> bool {
        let is_it = |step: &Step| matches!(step, Step::DropIndex(index) if index.name == name && index.table.schema.as_deref() == schema);
        self.end.index(schema, name).is_some()
            && !self.left_out.contains(&(schema.map(str::to_owned), name.to_owned()))
            && !self.steps.iter().any(is_it)
    }

    /// Whether an index that stays does all that one does which is dropped.
    fn covers(&self, dropped: &NewIndex) -> bool {
        let schema = dropped.table.schema.as_deref();
        let Some(index) = self.end.index(schema, &dropped.name) else { return false };
        self.end
            .indexes_of(&dropped.table)
            .any(|(other, known)| other != dropped.name && known.covers(index) && self.has(schema, other))
    }
}

/// A revision that is not written yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRevision {
    pub id: String,
    /// The first line of its docstring.
    pub message: String,
    pub source: String,
}

/// Write a revision that follows `parent`. Its id is one that is not `taken`.
#[must_use]
pub fn write(parent: &Migration, message: &str, steps: &[Step], taken: &dyn Fn(&str) -> bool) -> NewRevision {
    let style = Style::of(parent);
    let id = id(&parent.revision, message, steps, taken);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for step in steps {
        let (there, back) = match step {
            Step::CreateIndex(index) => (style.create(index), style.drop(index)),
            Step::DropIndex(index) => (style.drop(index), style.create(index)),
        };
        up.push(there);
        down.insert(0, back);
    }
    let needs_sa = up.iter().chain(&down).any(|line| line.contains("sa.text("));
    let newline = style.newline;
    let mut source = style.docstring(message, &id);
    source.push_str(&format!("from alembic import op{newline}"));
    if needs_sa {
        source.push_str(&format!("import sqlalchemy as sa{newline}"));
    }
    source.push_str(&style.identifiers(&id));
    source.push_str(&style.function("upgrade", &up));
    source.push_str(&style.function("downgrade", &down));
    NewRevision { id, message: message.to_owned(), source }
}

/// How the parent is written.
struct Style<'a> {
    parent: &'a Migration,
    text: &'a str,
    quote: char,
    newline: &'static str,
    unit: String,
}

impl<'a> Style<'a> {
    fn of(parent: &'a Migration) -> Self {
        let text = parent.module.source();
        let quote = text[parent.revision_range].chars().find(|c| matches!(c, '"' | '\'')).unwrap_or('"');
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let mut style = Self { parent, text, quote, newline, unit: "    ".to_owned() };
        if let Some(first) = style.definition("upgrade").and_then(|function| function.body.first()) {
            let before = &text[..first.start().to_usize()];
            let line = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
            if !line.is_empty() && line.trim().is_empty() {
                line.clone_into(&mut style.unit);
            }
        }
        style
    }

    fn definition(&self, name: &str) -> Option<&'a StmtFunctionDef> {
        self.parent.module.body().iter().find_map(|statement| match statement {
            Stmt::FunctionDef(function) if function.name.as_str() == name => Some(function),
            _ => None,
        })
    }

    fn string(&self, text: &str) -> String {
        let quote =
            if text.contains(self.quote) { if self.quote == '"' { '\'' } else { '"' } } else { self.quote };
        let mut out = String::from(quote);
        for c in text.chars() {
            if c == quote || c == '\\' {
                out.push('\\');
            }
            out.push(c);
        }
        out.push(quote);
        out
    }

    /// The message, and who the revision is where the parent says that, too. No date: nothing here knows one.
    fn docstring(&self, message: &str, id: &str) -> String {
        let newline = self.newline;
        let first = self.parent.module.body().first();
        let theirs =
            first.map(|statement| &self.text[statement.range()]).filter(|text| text.contains("Revises:"));
        let Some(theirs) = theirs else { return format!("\"\"\"{message}\"\"\"{newline}{newline}") };
        let quotes = if theirs.starts_with("'''") { "'''" } else { "\"\"\"" };
        let parent = &self.parent.revision;
        format!(
            "{quotes}{message}{newline}{newline}Revision ID: {id}{newline}Revises: {parent}{newline}{newline}{quotes}{newline}{newline}"
        )
    }

    /// `revision = …` and what follows it, as the parent spells them.
    fn identifiers(&self, id: &str) -> String {
        let newline = self.newline;
        let mut out = newline.to_owned();
        if self.text.contains("# revision identifiers, used by Alembic.") {
            let _ = write!(out, "# revision identifiers, used by Alembic.{newline}");
        }
        let mut imports = Vec::new();
        for name in ["revision", "down_revision", "branch_labels", "depends_on"] {
            let value = match name {
                "revision" => self.string(id),
                "down_revision" => self.string(&self.parent.revision),
                _ => "None".to_owned(),
            };
            for statement in self.parent.module.body() {
                match statement {
                    Stmt::Assign(assignment) if matches!(&*assignment.targets, [Expr::Name(target)] if target.id == name) =>
                    {
                        let _ = write!(out, "{name} = {value}{newline}");
                    }
                    Stmt::AnnAssign(assignment) if matches!(&*assignment.target, Expr::Name(target) if target.id == name) =>
                    {
                        let annotation = &self.text[assignment.annotation.range()];
                        let typing = ["Union", "Sequence", "Optional", "Final"];
                        imports.extend(typing.into_iter().filter(|word| annotation.contains(word)));
                        let _ = write!(out, "{name}: {annotation} = {value}{newline}");
                    }
                    _ => {}
                }
            }
        }
        // What the annotations need.
        let needed = |import: &&Stmt| match import {
            Stmt::ImportFrom(import) => {
                matches!(import.module.as_deref(), Some("typing" | "collections.abc"))
                    && import.names.iter().any(|alias| imports.contains(&alias.name.as_str()))
            }
            _ => false,
        };
        let lines = self.parent.module.body().iter().filter(needed).map(|import| &self.text[import.range()]);
        let typing: String = lines.flat_map(|text| [text, newline]).collect();
        format!("{typing}{out}")
    }

    fn function(&self, name: &str, lines: &[String]) -> String {
        let newline = self.newline;
        let theirs = self.definition(name);
        let returns = theirs.and_then(|function| function.returns.as_deref()).is_some();
        let arrow = if returns { " -> None" } else { "" };
        let mut out = format!("{newline}{newline}def {name}(){arrow}:{newline}");
        if let Some(Stmt::Expr(docstring)) = theirs.and_then(|function| function.body.first())
            && docstring.value.is_string_literal_expr()
            && self.text[docstring.range()].contains("schema.")
        {
            out.push_str(&format!("{}{}{newline}", self.unit, &self.text[docstring.range()]));
        }
        for line in lines {
            out.push_str(&format!("{}{line}{newline}", self.unit));
        }
        out
    }

    fn create(&self, index: &NewIndex) -> String {
        let element = |element: &IndexElement| match element {
            IndexElement::Column(column) => self.string(column),
            IndexElement::Expression(sql) => {
                format!("sa.text({})", self.string(sql.as_deref().unwrap_or_default()))
            }
        };
        let elements: Vec<_> = index.elements.iter().map(element).collect();
        let mut out = format!(
            "op.create_index({}, {}, [{}]",
            self.string(&index.name),
            self.string(&index.table.name),
            elements.join(", ")
        );
        if index.unique {
            out.push_str(", unique=True");
        }
        out.push_str(&self.schema(&index.table));
        let options = &index.options;
        if let Some(method) = &options.method {
            let _ = write!(out, ", postgresql_using={}", self.string(method));
        }
        if let Some(Some(predicate)) = &options.predicate {
            let _ = write!(out, ", postgresql_where=sa.text({})", self.string(predicate));
        }
        if !options.include.is_empty() {
            let include: Vec<_> = options.include.iter().map(|column| self.string(column)).collect();
            let _ = write!(out, ", postgresql_include=[{}]", include.join(", "));
        }
        if !options.operator_classes.is_empty() {
            let classes: Vec<_> = options
                .operator_classes
                .iter()
                .map(|(column, class)| format!("{}: {}", self.string(column), self.string(class)))
                .collect();
            let _ = write!(out, ", postgresql_ops={{{}}}", classes.join(", "));
        }
        if options.nulls_not_distinct {
            out.push_str(", postgresql_nulls_not_distinct=True");
        }
        out.push(')');
        out
    }

    fn drop(&self, index: &NewIndex) -> String {
        format!(
            "op.drop_index({}, table_name={}{})",
            self.string(&index.name),
            self.string(&index.table.name),
            self.schema(&index.table)
        )
    }

    fn schema(&self, table: &TableName) -> String {
        table.schema.as_ref().map_or_else(String::new, |schema| format!(", schema={}", self.string(schema)))
    }
}

/// An id of the kind that the parent has: the next number, or twelve digits that follow from what is written.
fn id(parent: &str, message: &str, steps: &[Step], taken: &dyn Fn(&str) -> bool) -> String {
    let number = parent.parse::<u64>().ok().filter(|_| (3..=6).contains(&parent.len()));
    if let Some(number) = number {
        let next = format!("{:0width$}", number + 1, width = parent.len());
        if !taken(&next) {
            return next;
        }
    }
    (0..u32::MAX)
        .map(|attempt| digits(&format!("{parent}\n{message}\n{steps:?}\n{attempt}")))
        .find(|id| !taken(id))
        .unwrap_or_default()
}

/// Twelve digits that follow from a text, as Alembic's `rev_id` has them.
pub(crate) fn digits(text: &str) -> String {
    // Neighbours shall not look alike: the end of MurmurHash3, <https://github.com/aappleby/smhasher>.
    let mut hash = hash(text);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    format!("{:012x}", (hash ^ (hash >> 33)) >> 16)
}

/// FNV-1a, <http://www.isthe.com/chongo/tech/comp/fnv/>: the same on every machine and in every version.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A name for a file: words in lower case, joined by underscores, at most 40 characters, as Alembic's
/// `ScriptDirectory` makes one of a message.
#[must_use]
pub fn slug(message: &str) -> String {
    let words = message.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut slug = String::new();
    for word in words {
        if slug.len() + word.len() >= 40 {
            break;
        }
        if !slug.is_empty() {
            slug.push('_');
        }
        slug.push_str(&word.to_lowercase());
    }
    slug
}
