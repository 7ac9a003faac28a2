//! Prints neighbouring statements as `with op.get_context().autocommit_block():`, and what stays between them.

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::{Stmt, StmtWith};
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange};

use super::Layout;
use crate::operations::OperationKind;
use crate::python::{Module, edit};
use crate::settings::Portability;

/// A statement on its way into a block.
pub(super) struct Piece<'a> {
    pub(super) plan: usize,
    pub(super) statement: &'a Stmt,
    /// The indentation that it has.
    pub(super) indentation: &'a str,
    /// Comments and blank lines in front of it, as whole lines with their indentation.
    pub(super) gaps: Vec<(TextRange, &'a str)>,
    /// The comment behind the header of the batch block that it leaves.
    pub(super) comment: Option<&'a str>,
    /// The batch block that it leaves.
    pub(super) batch: Option<&'a StmtWith>,
}

/// A part of a region, in order.
pub(super) enum Segment<'a> {
    Keep(String),
    Move(Piece<'a>),
}
impl<'a> Layout<'a> {
    /// Replace the lines of neighbouring statements that all move; with `whole`, of a suite that has no others.
    pub(super) fn region(&mut self, statements: &'a [Stmt], parent: &str, whole: bool) {
        let (Some(first), Some(last)) = (statements.first(), statements.last()) else { return };
        let current = self.renderer.indentation(first.start());
        let unit = self.unit(current, parent).to_owned();
        let source = self.module.source();
        let range = TextRange::new(source.line_start(first.start()), self.renderer.line_end(last.end()));
        let mut segments = Vec::new();
        let mut gap_start = range.start();
        for (index, statement) in statements.iter().enumerate() {
            let gap = TextRange::new(gap_start, source.line_start(statement.start()));
            let next = source.full_line_end(statement.end());
            if let Stmt::With(with) = statement {
                self.batch(with, gap, current, &mut segments);
            } else {
                segments.extend(self.segment(statement, gap, current));
            }
            gap_start = if index + 1 < statements.len() { next } else { gap_start };
        }
        let mut text = self.print(&segments, current, &unit);
        // What is left of statements whose work others do are comments, if anything.
        let is_code = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
        if whole && !text.lines().any(is_code) {
            text.push_str(&format!("{current}pass{}", self.renderer.newline()));
        } else if text.is_empty() {
            let lines = TextRange::new(range.start(), source.full_line_end(last.end()));
            self.regions.push(edit::replace(lines, text));
            return;
        }
        // The region ends before its last line break.
        if let Some(stripped) = text.strip_suffix(self.renderer.newline()) {
            text.truncate(stripped.len());
        }
        self.regions.push(edit::replace(range, text));
    }

    /// A statement that moves, or what is left of a `COMMIT` that the block makes unnecessary: its
    /// comments.
    fn segment(&self, statement: &'a Stmt, gap: TextRange, current: &'a str) -> Option<Segment<'a>> {
        if let Some(plan) = self.plan_of(statement) {
            let gaps = vec![(gap, current)];
            return Some(Segment::Move(Piece {
                plan,
                statement,
                indentation: current,
                gaps,
                comment: None,
                batch: None,
            }));
        }
        let mut kept = self.lines(gap, current, current);
        let behind = TextRange::new(statement.end(), self.renderer.line_end(statement.end()));
        let comment = self.module.source()[behind].trim();
        if !comment.is_empty() {
            kept.push_str(&format!("{current}{comment}{}", self.renderer.newline()));
        }
        (!kept.is_empty()).then_some(Segment::Keep(kept))
    }

    /// Whole lines, moved to another indentation.
    pub(super) fn lines(&self, range: TextRange, from: &str, to: &str) -> String {
        if range.is_empty() { String::new() } else { self.renderer.render(range, &[], from, to) }
    }

    /// Split a batch block into what stays and what leaves.
    fn batch(&self, with: &'a StmtWith, gap: TextRange, current: &'a str, segments: &mut Vec<Segment<'a>>) {
        let source = self.module.source();
        let newline = self.renderer.newline();
        let header = header_range(self.module, with);
        let header_text = &source[header];
        let mut comment = Some(&source[TextRange::new(header.end(), self.renderer.line_end(header.end()))]);
        let Some(first) = with.body.first() else { return };
        let indentation = self.renderer.indentation(first.start());
        let leaving = self.leaving(with);
        let plan_of = |statement: &Stmt| {
            leaving
                .iter()
                .copied()
                .find(|plan| self.plans[*plan].operation.origin.statement == statement.range())
        };
        let mut above = Some((gap, current));
        let mut open: Option<String> = None;
        let mut gap_start = source.full_line_end(header.end());
        for statement in &with.body {
            let gap = TextRange::new(gap_start, source.line_start(statement.start()));
            gap_start = source.full_line_end(statement.end());
            if let Some(plan) = plan_of(statement) {
                if let Some(text) = open.take() {
                    segments.push(Segment::Keep(text));
                }
                segments.push(Segment::Move(Piece {
                    plan,
                    statement,
                    indentation,
                    gaps: above.take().into_iter().chain([(gap, indentation)]).collect(),
                    comment: comment.take().map(str::trim).filter(|comment| !comment.is_empty()),
                    batch: Some(with),
                }));
            } else {
                let text = open.get_or_insert_with(|| {
                    let lines = above.take().map(|(gap, from)| self.lines(gap, from, current));
                    let comment = comment.take().unwrap_or_default();
                    format!("{}{current}{header_text}{comment}{newline}", lines.unwrap_or_default())
                });
                text.push_str(&self.lines(gap, indentation, indentation));
                let range = TextRange::new(statement.start(), self.renderer.line_end(statement.end()));
                text.push_str(&self.renderer.render(range, &self.inline, indentation, indentation));
                text.push_str(newline);
            }
        }
        if let Some(text) = open.take() {
            segments.push(Segment::Keep(text));
        }
    }

    pub(super) fn needs_branch(&self, plan: usize) -> bool {
        let operation = self.plans[plan].operation;
        if operation.dialects.only_postgresql() {
            return false;
        }
        // Of SQL text nobody knows what else understands it.
        let index_only = operation.origin.sql.is_none()
            && matches!(&operation.kind, OperationKind::CreateIndex(_) | OperationKind::DropIndex(_));
        match self.portability {
            Portability::PostgresOnly => false,
            // `op.create_index` outside of a batch block and IF NOT EXISTS are fine on SQLite.
            Portability::Sqlite => !index_only,
            Portability::Many => true,
        }
    }

    /// Print segments, with one header over each run of moved statements.
    fn print(&mut self, segments: &[Segment<'a>], current: &str, unit: &str) -> String {
        let mut out = String::new();
        let mut index = 0;
        while index < segments.len() {
            match &segments[index] {
                Segment::Keep(text) => {
                    out.push_str(text);
                    index += 1;
                }
                Segment::Move(first) => {
                    let branch = self.needs_branch(first.plan);
                    let mut run: Vec<&Piece> = segments[index..]
                        .iter()
                        .map_while(|segment| match segment {
                            Segment::Move(piece) if self.needs_branch(piece.plan) == branch => Some(piece),
                            _ => None,
                        })
                        .collect();
                    let ends = run.iter().position(|piece| !self.behind(piece.plan).is_empty());
                    run.truncate(ends.map_or(run.len(), |last| last + 1));
                    index += run.len();
                    out.push_str(&self.block(&run, branch, current, unit));
                }
            }
        }
        out
    }

    /// The statements that follow the block of a plan.
    fn behind(&self, plan: usize) -> &[String] {
        self.prepared.get(&plan).map_or(&[], |prepared| prepared.lines.behind.as_slice())
    }

    fn block(&mut self, run: &[&Piece<'a>], branch: bool, current: &str, unit: &str) -> String {
        let newline = self.renderer.newline();
        let Some(first) = run.first() else { return String::new() };
        let op = self.prepared.get(&first.plan).map_or("op", |prepared| prepared.op.as_str()).to_owned();
        let mut out = self.leading(&first.gaps, first, current);
        // What others do for all of them.
        let is_empty = run
            .iter()
            .all(|piece| self.prepared.get(&piece.plan).is_none_or(|prepared| prepared.lines.is_empty()));
        let outer = if branch {
            let postgresql = self.printer.string("postgresql");
            let sign = if is_empty { "!=" } else { "==" };
            out.push_str(&format!(
                "{current}if {op}.get_context().dialect.name {sign} {postgresql}:{newline}"
            ));
            format!("{current}{unit}")
        } else {
            current.to_owned()
        };
        let inner = if is_empty { outer.clone() } else { format!("{outer}{unit}") };
        if !is_empty {
            out.push_str(&format!("{outer}with {op}.get_context().autocommit_block():{newline}"));
        }
        for (index, piece) in run.iter().enumerate() {
            let Some(prepared) = self.prepared.get(&piece.plan) else { continue };
            if index > 0 {
                out.push_str(&self.leading(&piece.gaps, piece, &inner));
            }
            let mut lines = prepared.lines.before.clone();
            let end = self.renderer.line_end(piece.statement.end());
            if prepared.lines.keeps_call {
                let range = TextRange::new(piece.statement.start(), end);
                for line in lines {
                    out.push_str(&format!("{inner}{line}{newline}"));
                }
                out.push_str(&self.renderer.render(range, &prepared.edits, piece.indentation, &inner));
                out.push_str(newline);
            } else {
                let comment = &self.module.source()[TextRange::new(piece.statement.end(), end)];
                match lines.last_mut() {
                    Some(last) => last.push_str(comment),
                    None if comment.trim().is_empty() => {}
                    None => lines.push(comment.trim().to_owned()),
                }
                for line in lines {
                    out.push_str(&format!("{inner}{line}{newline}"));
                }
            }
            for line in &prepared.lines.after {
                out.push_str(&format!("{inner}{line}{newline}"));
            }
            self.inline.extend(prepared.elsewhere.iter().cloned());
            self.helpers.extend(prepared.lines.helpers.iter().copied());
            self.placed.insert(piece.plan);
        }
        for line in run.last().into_iter().flat_map(|piece| self.behind(piece.plan)) {
            out.push_str(&format!("{outer}{line}{newline}"));
        }
        if branch {
            if !is_empty {
                out.push_str(&format!("{current}else:{newline}"));
            }
            out.push_str(&self.originals(run, current, unit));
        }
        out
    }

    /// The comments and blank lines in front of a piece, `gaps` of all or some of it, at the indentation that it gets.
    fn leading(&self, gaps: &[(TextRange, &str)], piece: &Piece<'a>, to: &str) -> String {
        let mut out = self.gaps(gaps, to);
        if let Some(comment) = piece.comment {
            out.push_str(&format!("{to}{comment}{}", self.renderer.newline()));
        }
        out
    }

    fn gaps(&self, gaps: &[(TextRange, &str)], to: &str) -> String {
        gaps.iter().map(|(gap, from)| self.lines(*gap, from, to)).collect()
    }

    /// The statements as they were, one level deeper.
    fn originals(&self, run: &[&Piece<'a>], current: &str, unit: &str) -> String {
        let newline = self.renderer.newline();
        let outer = format!("{current}{unit}");
        let inner = format!("{outer}{unit}");
        let mut out = String::new();
        let mut batch: Option<TextRange> = None;
        for (index, piece) in run.iter().enumerate() {
            let to = if piece.batch.is_some() { &inner } else { &outer };
            let opened = piece.batch.filter(|with| batch != Some(with.range()));
            batch = piece.batch.map(Ranged::range);
            // What is above a batch block, and what is in it.
            let (above, inside) =
                piece.gaps.split_at(if opened.is_some() { piece.gaps.len() - 1 } else { 0 });
            if index > 0 {
                out.push_str(&self.gaps(above, &outer));
            }
            if let Some(with) = opened {
                let header = header_range(self.module, with);
                out.push_str(&self.renderer.render(header, &[], current, &outer));
                out.push_str(newline);
            }
            if index > 0 {
                out.push_str(&self.leading(inside, piece, to));
            }
            let range =
                TextRange::new(piece.statement.start(), self.renderer.line_end(piece.statement.end()));
            out.push_str(&self.renderer.render(range, &[], piece.indentation, to));
            out.push_str(newline);
        }
        out
    }
}

/// `with … as batch_op:`, the colon included.
pub(super) fn header_range(module: &Module, with: &StmtWith) -> TextRange {
    let after = with.items.last().map_or(with.start(), Ranged::end);
    let colon = module.tokens().after(after).iter().find(|token| token.kind() == TokenKind::Colon);
    TextRange::new(with.start(), colon.map_or(after, |colon| colon.range().end()))
}
