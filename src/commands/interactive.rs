//! `safemig fix --interactive`: the fixes one at a time, with the keys of `git add -p`.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::rule;
use crate::prompt::{Answer, Prompt};
use crate::report::{count, diff};
use crate::review::{Decision, EditError, Outcome, Review, Wide};
use crate::terminal::Terminal;
use crate::write;

/// Below this width a question names only the most important keys.
const NARROW: usize = 64;

const HELP: &str = "\
y - make this fix
n - leave it alone
q - quit: leave this one alone, and all about which nothing is decided
a - make this fix and all later ones in the file
d - leave this fix and all later ones in the file
A - make this fix and all later ones of the same rule, in every file
D - leave this fix and all later ones of the same rule, in every file
i - leave it, and write a comment into the file that says why
e - edit the diff
j - decide later; see the next fix
k - see the previous fix
x - explain the rule
p - print the fix again
? - print help
";

const LAST_HELP: &str = "\
y - write the files
n - write nothing
k - go back to the last fix
p - print all that will be written, as a diff
? - print help
";

/// What the diff of a fix begins with in an editor.
const EDIT_HELP: &str = "\
# To keep a line that is taken away, make its `-` a space.
# To leave out a line that is added, delete it. Lines that start with # are no part of it.
# Without any line left, the fix is asked about again.
";

/// What the user decided in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreed {
    Write,
    Nothing,
}

/// Where the review goes on.
enum Next {
    /// The next fix about which nothing is decided.
    On,
    /// This fix.
    At(usize),
    /// The last question.
    End,
}

/// Go through a review.
///
/// # Errors
/// The user presses Ctrl-C; the terminal is gone.
pub(super) fn run(
    review: &mut Review,
    prompt: &Prompt,
    terminal: &Terminal,
    reason_required: bool,
) -> Result<Agreed> {
    let session = Session { prompt, terminal: &terminal.on_stderr(), reason_required };
    if review.fixes.is_empty() {
        return Ok(Agreed::Nothing);
    }
    let mut at = 0;
    let mut current = review.next_open(0);
    loop {
        if let Some(fix) = current {
            at = fix;
            current = match session.one(review, fix)? {
                // What was passed over comes again, before the last question.
                Next::On => review.next_open(fix + 1).or_else(|| review.next_open(0)),
                Next::At(fix) => Some(fix),
                Next::End => None,
            };
        } else {
            match session.last(review)? {
                Some(agreed) => return Ok(agreed),
                None => current = Some(at),
            }
        }
    }
}

struct Session<'a> {
    prompt: &'a Prompt,
    terminal: &'a Terminal,
    reason_required: bool,
}

impl Session<'_> {
    /// Show a fix and ask about it, until something is decided.
    fn one(&self, review: &mut Review, fix: usize) -> Result<Next> {
        self.show(review, fix)?;
        let number = format!("({}/{})", fix + 1, review.fixes.len());
        loop {
            let keys = if self.prompt.width() < NARROW { "y,n,q,?" } else { "y,n,a,d,A,D,i,e,j,k,x,p,q,?" };
            let question = self.question(&format!("{number} Make this fix [{keys}]?"));
            let key = match self.prompt.key(&question)? {
                Answer::Key(key) => key,
                Answer::Again => continue,
                Answer::End => return Ok(Next::End),
            };
            match key {
                'y' => review.decide(fix, Decision::Made),
                'n' => review.decide(fix, Decision::Left),
                'a' => review.decide_from(fix, Wide::File, &Decision::Made),
                'd' => review.decide_from(fix, Wide::File, &Decision::Left),
                'A' => review.decide_from(fix, Wide::Rule, &Decision::Made),
                'D' => review.decide_from(fix, Wide::Rule, &Decision::Left),
                'i' => match self.reason()? {
                    Some(why) => review.decide(fix, Decision::Suppressed(why)),
                    None => continue,
                },
                'e' => {
                    if !self.edit(review, fix)? {
                        continue;
                    }
                }
                'j' => {
                    let others = fix + 1..review.fixes.len();
                    if let Some(next) = others.into_iter().find(|next| !review.is_along(*next)) {
                        return Ok(Next::At(next));
                    }
                    self.prompt.say("This is the last fix.\n")?;
                    continue;
                }
                'k' => {
                    if let Some(previous) = (0..fix).rfind(|previous| !review.is_along(*previous)) {
                        return Ok(Next::At(previous));
                    }
                    self.prompt.say("This is the first fix.\n")?;
                    continue;
                }
                'x' => {
                    let page = rule::page(review.fixes[fix].offer.rule, self.terminal);
                    self.prompt.say(&format!("\n{page}\n"))?;
                    continue;
                }
                'p' => {
                    self.show(review, fix)?;
                    continue;
                }
                'q' => return Ok(Next::End),
                _ => {
                    self.prompt.say(HELP)?;
                    continue;
                }
            }
            return Ok(Next::On);
        }
    }

    /// Print a fix: what is found, what is locked before and after, and the diff.
    fn show(&self, review: &Review, fix: usize) -> Result<()> {
        let view = review.view(fix);
        let (path, one) = (review.path(fix), &review.fixes[fix]);
        let offer = &one.offer;
        let bold = self.terminal.style().bold();
        let mut text = format!("\n{} {}\n", bold.apply_to(offer.rule.name()), offer.message);
        for place in &offer.places {
            let _ = writeln!(text, "  --> {path}:{}:{}", place.line, place.column);
        }
        if let Some(lock) = &offer.lock {
            let _ = writeln!(text, "before: {lock}");
        }
        if let Some(lock) = &offer.lock_after {
            let _ = writeln!(text, "after:  {lock}");
        }
        for message in &view.along {
            let _ = writeln!(text, "also:   {message}");
        }
        for note in &view.notes {
            let _ = writeln!(text, "note:   {note}");
        }
        if let Some(decision) = decided(&one.decision) {
            let _ = writeln!(text, "now:    {decision}");
        }
        match &view.nothing {
            Some(reason) => {
                let _ = writeln!(text, "On its own, this fix changes nothing: {reason}.");
            }
            None => text.push_str(&diff::render(path, Some(&view.before), &view.after, self.terminal)),
        }
        self.prompt.say(&text)
    }

    /// Ask for the reason of a suppression; `None` when there is to be none.
    fn reason(&self) -> Result<Option<String>> {
        let question = if self.reason_required { "Why?" } else { "Why (may be empty)?" };
        loop {
            match self.prompt.line(&self.question(question))? {
                Some(why) if why.is_empty() && self.reason_required => {
                    self.prompt.say("The configuration wants a reason (`require-ignore-reason`).\n")?;
                }
                answer => return Ok(answer),
            }
        }
    }

    /// Open the diff of a fix in the user's editor; whether it was taken.
    fn edit(&self, review: &mut Review, fix: usize) -> Result<bool> {
        let view = review.view(fix);
        let plain = self.terminal.plain();
        let mut diff = diff::render(review.path(fix), Some(&view.before), &view.after, &plain) + EDIT_HELP;
        loop {
            let edited = match self.prompt.lend(|| edited(&diff)) {
                Ok(edited) => edited,
                Err(error) => {
                    self.prompt.say(&format!("{error:#}\n"))?;
                    return Ok(false);
                }
            };
            let is_empty = edited.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
            if is_empty {
                return Ok(false);
            }
            let anyway = match review.edit(fix, &edited, false) {
                Ok(()) => return Ok(true),
                Err(EditError::Impossible(reason)) => {
                    self.prompt.say(&format!("The edited diff is of no use: {reason}\n"))?;
                    None
                }
                Err(EditError::OtherSchema) => {
                    self.prompt.say("As edited, the revision leads to another schema.\n")?;
                    Some("take it as it is")
                }
            };
            diff = edited;
            let keys = if anyway.is_some() { "e,t,n" } else { "e,n" };
            let question = self.question(&format!("Edit it again ({keys})?"));
            loop {
                match (self.prompt.key(&question)?, anyway) {
                    (Answer::Key('e' | 'y'), _) => break,
                    (Answer::Key('t'), Some(_)) => return Ok(review.edit(fix, &diff, true).is_ok()),
                    (Answer::Key('n' | 'q') | Answer::End, _) => return Ok(false),
                    (Answer::Again, _) => {}
                    (Answer::Key(_), Some(anyway)) => {
                        self.prompt.say(&format!(
                            "e - edit it again\nt - {anyway}\nn - discard what was edited\n"
                        ))?;
                    }
                    (Answer::Key(_), None) => {
                        self.prompt.say("e - edit it again\nn - discard what was edited\n")?;
                    }
                }
            }
        }
    }

    /// The last question; `None` to go back.
    fn last(&self, review: &Review) -> Result<Option<Agreed>> {
        let outcomes = review.outcomes();
        if outcomes.is_empty() {
            return Ok(Some(Agreed::Nothing));
        }
        let mut text = String::from("\n");
        for outcome in &outcomes {
            let _ = writeln!(text, "  {}: {}", outcome.path, what(&[outcome]));
        }
        self.prompt.say(&text)?;
        let all: Vec<_> = outcomes.iter().collect();
        let question = format!("Write {} to {} [y,n,k,p,?]?", what(&all), count(outcomes.len(), "file"));
        loop {
            match self.prompt.key(&self.question(&question))? {
                Answer::Key('y') => return Ok(Some(Agreed::Write)),
                Answer::Key('n' | 'q') | Answer::End => return Ok(Some(Agreed::Nothing)),
                Answer::Key('k') => return Ok(None),
                Answer::Key('p') => {
                    let diffs = outcomes.iter().map(|outcome| {
                        diff::render(outcome.path, Some(outcome.old), &outcome.new, self.terminal)
                    });
                    self.prompt.say(&diffs.collect::<String>())?;
                }
                Answer::Key(_) => self.prompt.say(LAST_HELP)?,
                Answer::Again => {}
            }
        }
    }

    fn question(&self, text: &str) -> String {
        self.terminal.style().blue().bold().apply_to(text).to_string()
    }
}

/// `2 fixes and 1 suppression`.
fn what(outcomes: &[&Outcome]) -> String {
    let fixes: usize = outcomes.iter().map(|outcome| outcome.fixes).sum();
    let suppressions: usize = outcomes.iter().map(|outcome| outcome.suppressions).sum();
    let fixes = (fixes > 0).then(|| if fixes == 1 { "1 fix".to_owned() } else { format!("{fixes} fixes") });
    let suppressions = (suppressions > 0).then(|| count(suppressions, "suppression"));
    let parts: Vec<_> = fixes.into_iter().chain(suppressions).collect();
    parts.join(" and ")
}

/// What was decided about a fix, for one who comes back to it.
fn decided(decision: &Decision) -> Option<String> {
    Some(match decision {
        Decision::Open => return None,
        Decision::Made => "it will be made".to_owned(),
        Decision::Left => "it is left alone".to_owned(),
        Decision::Suppressed(why) => {
            format!("it is left, with a comment: {why}").trim_end_matches(": ").to_owned()
        }
        Decision::Edited => {
            "it is part of what was edited in this file; every answer but `j`, `k` discards that".to_owned()
        }
    })
}

/// What the user makes of a text in the editor.
///
/// # Errors
/// The editor can't be run or fails.
fn edited(text: &str) -> Result<String> {
    let file = write::scratch("safemig-", ".diff", text.as_bytes())?;
    let status = editor(file.path()).status().context("could not start the editor")?;
    if !status.success() {
        anyhow::bail!("the editor failed ({status}); nothing was changed");
    }
    fs::read_to_string(file.path()).context("could not read what was edited")
}

/// `VISUAL` or `EDITOR` on a file: like git, through a shell, so that they may have arguments.
fn editor(path: &Path) -> Command {
    let named = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
    let default = if cfg!(windows) { "notepad" } else { "vi" };
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| default.to_owned());
    if cfg!(windows) {
        let mut words = editor.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or(default));
        command.args(words).arg(path);
        command
    } else {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{editor} \"$@\"")).arg(editor).arg(path);
        command
    }
}
