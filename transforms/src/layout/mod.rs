//! Turns recipes into text: the one stage that knows how a rewritten migration looks.
//!
//! Statements with a recipe move into `with op.get_context().autocommit_block():`; neighbours share
//! one block, and an operation leaves its batch block for it. Everything else stays byte for byte.
//!
//! **Architecture Invariant:** a fix is whole or nothing. What can't be laid out is refused with a
//! reason, and the file is left as it was in that place.

mod additions;
mod batch;
mod block;
pub(crate) mod call;
pub(crate) mod helpers;
mod prepare;
mod queue;
mod sql;
mod suite;
mod support;
mod timeout;
mod type_change;
pub(crate) mod type_steps;

pub use support::SupportModule;

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::Stmt;
use ruff_python_ast::token::TokenKind;
use ruff_python_codegen::Stylist;
use ruff_text_size::{Ranged, TextRange};

use self::additions::ModuleOp;
use self::call::Printer;
use self::helpers::Helper;
use self::prepare::Prepared;
use self::support::Alias;
use crate::operations::{Operation, Origin, Receiver};
use crate::python::edit::{Edit, Renderer};
use crate::python::find::find_call;
use crate::python::value::BatchId;
use crate::python::{Module, edit};
use crate::recipe::{Action, Around, Recipe};
use crate::settings::Portability;

/// An operation and the recipe that takes its place.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    pub operation: &'a Operation,
    pub recipe: &'a Recipe,
}

impl Planned<'_> {
    /// Whether the statement is edited where it stands: in a block, or needing none.
    fn stays(&self) -> bool {
        self.operation.autocommit || self.recipe.around == Around::Nothing
    }

    /// Whether nothing of the statement is left.
    fn is_left_out(&self) -> bool {
        self.recipe.steps.iter().any(|step| step.action == Action::LeaveOut)
    }
}

/// A keyword that lets a call run a second time (`if_not_exists`, `if_exists`).
#[derive(Debug, Clone, PartialEq)]
pub struct Rerunnable {
    pub origin: Origin,
    /// The module that it stands in, where that is no migration.
    pub module: Option<String>,
    pub keyword: &'static str,
    /// The call runs on other databases, too, which do not understand the SQL for the keyword.
    pub only_on_postgresql: bool,
}

/// What became of a file.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The new text, when anything changed.
    pub source: Option<String>,
    /// Plans (by index) that could not be laid out, and why.
    pub refused: Vec<(usize, String)>,
    /// Statements were taken out of a block that limits how long they wait for a lock, to change in
    /// the next pass.
    pub released: bool,
}

/// The helper functions that a rewritten file may get, by name, as a file that indents by four
/// spaces gets them.
pub fn helper_sources() -> impl Iterator<Item = (&'static str, String)> {
    helpers::ALL.into_iter().map(|helper| (helper.name(), helper.source("op", "    ", "\n")))
}

/// What else a file does.
#[derive(Debug, Default)]
pub struct Others<'a> {
    /// The module that has the helper functions; `None` where each file has its own.
    pub support: Option<&'a str>,
    /// The statements that are a `COMMIT` and nothing else: one just in front of a block is not
    /// needed any more.
    pub commits: Vec<TextRange>,
    /// The calls that have to wait for their locks, however long.
    pub unlimited: Vec<TextRange>,
    /// The conditions that shall keep their answer.
    pub kept: Vec<Kept>,
}

/// A condition that keeps its answer until the body of its `if` is done.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    pub test: TextRange,
    /// The last statement of the body.
    pub last: TextRange,
    /// The mark in the database.
    pub name: String,
}

/// Rewrite one file. Without plans, its calls only get their keywords.
#[must_use]
pub fn rewrite(
    module: &Module,
    plans: &[Planned],
    others: &Others<'_>,
    rerunnable: &[Rerunnable],
    portability: Portability,
) -> Outcome {
    if has_lone_carriage_return(module.source()) {
        let reason = "the file has lines that end in a lone carriage return";
        return Outcome {
            refused: (0..plans.len()).map(|plan| (plan, reason.to_owned())).collect(),
            ..Outcome::default()
        };
    }
    let renderer = Renderer::new(module);
    let stylist = Stylist::from_tokens(module.tokens(), module.source());
    let alias = others.support.map(|support| Alias::find(module, support));
    let printer = Printer {
        support: alias.as_ref().and_then(Option::as_ref),
        ..Printer::new(&renderer, &stylist, module)
    };
    let mut layout = Layout {
        plans,
        commits: &others.commits,
        unlimited: &others.unlimited,
        kept: &others.kept,
        portability,
        taken: others.support.filter(|_| matches!(alias, Some(None))),
        ..Layout::new(printer)
    };
    layout.prepare(rerunnable);
    layout.suite(module.body(), "");
    layout.finish()
}

/// A module with these functions, for migrations that import it; `None` when it has all of them.
fn with_helpers(module: &Module, helpers: &BTreeSet<Helper>) -> Option<String> {
    let renderer = Renderer::new(module);
    let stylist = Stylist::from_tokens(module.tokens(), module.source());
    let layout =
        Layout { helpers: helpers.clone(), ..Layout::new(Printer::new(&renderer, &stylist, module)) };
    let mut edits = Vec::new();
    layout.insert_helpers(&mut edits, Helper::public_source);
    let new = edit::apply(module.source(), edits)?;
    (new != module.source() && is_faithful(module, &new)).then_some(new)
}

/// Append keywords to calls; `None` when that can't be laid out.
#[must_use]
pub fn with_keywords(module: &Module, calls: &[(TextRange, Vec<(&str, String)>)]) -> Option<String> {
    if has_lone_carriage_return(module.source()) {
        return None;
    }
    let renderer = Renderer::new(module);
    let stylist = Stylist::from_tokens(module.tokens(), module.source());
    let printer = Printer::new(&renderer, &stylist, module);
    let mut edits = Vec::new();
    for (range, keywords) in calls {
        edits.extend(printer.append(find_call(module.body(), *range)?, keywords));
    }
    edit::apply(module.source(), edits)
}

/// Leave a keyword out of a call; `None` when that can't be laid out.
#[must_use]
pub fn without_keyword(module: &Module, call: TextRange, keyword: &str) -> Option<String> {
    if has_lone_carriage_return(module.source()) {
        return None;
    }
    let renderer = Renderer::new(module);
    let stylist = Stylist::from_tokens(module.tokens(), module.source());
    let printer = Printer::new(&renderer, &stylist, module);
    let keyword = find_call(module.body(), call)?.arguments.find_keyword(keyword)?;
    let edit = printer.without(keyword.range()).ok()?;
    edit::apply(module.source(), vec![edit]).filter(|new| is_faithful(module, new))
}

/// Line breaks that only old Macintoshes understood: git and `patch` don't.
fn has_lone_carriage_return(source: &str) -> bool {
    let bytes = source.as_bytes();
    bytes.iter().enumerate().any(|(at, byte)| *byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'))
}

struct Layout<'a> {
    module: &'a Module,
    renderer: &'a Renderer<'a>,
    printer: Printer<'a>,
    plans: &'a [Planned<'a>],
    /// Statements that are a `COMMIT` and nothing else.
    commits: &'a [TextRange],
    /// Calls that have to wait for their locks.
    unlimited: &'a [TextRange],
    /// Conditions that keep their answer.
    kept: &'a [Kept],
    portability: Portability,
    prepared: BTreeMap<usize, Prepared>,
    refused: BTreeMap<usize, String>,
    /// Replacements of whole lines.
    regions: Vec<Edit>,
    /// Edits inside of statements that stay where they are.
    inline: Vec<Edit>,
    /// Line breaks between statements that share a line; the rest waits for the next pass.
    unfold: Vec<Edit>,
    helpers: BTreeSet<Helper>,
    /// The module that the file should import, whose name it uses for something else.
    taken: Option<&'a str>,
    import: ModuleOp,
    placed: BTreeSet<usize>,
    released: bool,
}

impl<'a> Layout<'a> {
    /// For a file that nothing is done to yet.
    fn new(printer: Printer<'a>) -> Self {
        Self {
            module: printer.module,
            renderer: printer.renderer,
            import: ModuleOp::find(printer.module),
            printer,
            plans: &[],
            commits: &[],
            unlimited: &[],
            kept: &[],
            portability: Portability::PostgresOnly,
            prepared: BTreeMap::new(),
            refused: BTreeMap::new(),
            regions: Vec::new(),
            inline: Vec::new(),
            unfold: Vec::new(),
            helpers: BTreeSet::new(),
            taken: None,
            placed: BTreeSet::new(),
            released: false,
        }
    }
}

impl Layout<'_> {
    /// The plan for a statement of a suite.
    fn plan_of(&self, statement: &Stmt) -> Option<usize> {
        self.plans
            .iter()
            .position(|plan| plan.operation.origin.statement == statement.range())
            .filter(|plan| self.prepared.contains_key(plan))
    }

    fn plans_of_batch(&self, id: BatchId) -> impl Iterator<Item = usize> {
        let in_batch = move |plan: &Planned| matches!(&plan.operation.origin.receiver, Receiver::Batch(batch) if batch.id == id);
        (0..self.plans.len()).filter(move |index| in_batch(&self.plans[*index]))
    }

    fn batch_plans(&self, id: BatchId) -> Vec<usize> {
        self.plans_of_batch(id)
            .filter(|index| !self.plans[*index].stays() && self.prepared.contains_key(index))
            .collect()
    }

    /// Put everything together.
    fn finish(mut self) -> Outcome {
        let mut edits = Vec::new();
        if self.unfold.is_empty() {
            for plan in 0..self.plans.len() {
                // What stands in a batch block that is cut now has its turn when that is done.
                let statement = self.plans[plan].operation.origin.statement;
                let waits = self.regions.iter().any(|region| region.range().contains_range(statement));
                if !self.placed.contains(&plan) && !waits {
                    self.refused.entry(plan).or_insert_with(|| {
                        let in_batch =
                            matches!(self.plans[plan].operation.origin.receiver, Receiver::Batch(_));
                        if in_batch {
                            "its batch block also runs other statements, so that it can't be split".to_owned()
                        } else {
                            "its statement is not in a place that can be rewritten".to_owned()
                        }
                    });
                }
            }
            if self.placed.is_empty() && !self.plans.is_empty() {
                return Outcome { refused: self.refused.into_iter().collect(), ..Outcome::default() };
            }
            let covered =
                |edit: &Edit| self.regions.iter().any(|region| region.range().contains_range(edit.range()));
            edits.extend(self.inline.iter().filter(|edit| !covered(edit)).cloned());
            edits.append(&mut self.regions);
            self.insert_prologues(&mut edits);
            self.insert_failures(&mut edits);
            self.keep_answers(&mut edits);
            self.insert_helpers(&mut edits, Helper::source);
        } else {
            edits.append(&mut self.unfold);
        }
        let refused = self.refused.into_iter().collect();
        let source = edit::apply(self.module.source(), edits)
            .filter(|new| new != self.module.source())
            .filter(|new| is_faithful(self.module, new));
        Outcome { source, refused, released: self.released }
    }
}

/// The new text is Python, and no comment of the old one is lost.
pub(crate) fn is_faithful(module: &Module, new: &str) -> bool {
    let Ok(new) = Module::parse(new.to_owned()) else { return false };
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for token in new.tokens().iter().filter(|token| token.kind() == TokenKind::Comment) {
        *left.entry(new.text(token.range())).or_default() += 1;
    }
    module.tokens().iter().filter(|token| token.kind() == TokenKind::Comment).all(|token| {
        match left.get_mut(module.text(token.range())) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    })
}
