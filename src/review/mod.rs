//! A review: which fixes there are, what was decided about each, and what that does to the files.
//!
//! **Invariant: what is shown is what is done.** The text before a fix has all that was decided earlier in the same
//! file; the text after it has the fix, too, and becomes the text before the next one.
//!
//! Nothing here knows a terminal, and nothing is written.

mod patch;
mod subject;

use std::collections::BTreeSet;

use crate::analysis::{Judged, JudgedEnvironment, Rules};
use subject::{Choice, Key, Offer, Subject};

pub(crate) use subject::DECLINED;

/// What was decided about a fix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Decision {
    #[default]
    Open,
    Made,
    Left,
    /// Left, with a comment that says why.
    Suppressed(String),
    /// It is part of a text that was edited by hand, or was made when that began.
    Edited,
}

/// A fix to decide about.
#[derive(Debug)]
pub(crate) struct Fix {
    pub(crate) offer: Offer,
    pub(crate) decision: Decision,
    file: usize,
}

/// What a fix would do, on top of all that was decided in its file.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) before: String,
    pub(crate) after: String,
    /// Other findings that go with it.
    pub(crate) along: Vec<String>,
    /// What a reviewer has to know.
    pub(crate) notes: Vec<String>,
    /// Why it changes nothing.
    pub(crate) nothing: Option<String>,
}

/// What is to be written to a file.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    /// As reports show it.
    pub(crate) path: &'a str,
    pub(crate) old: &'a str,
    pub(crate) new: String,
    pub(crate) fixes: usize,
    pub(crate) suppressions: usize,
}

/// Why an edited text is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EditError {
    /// It can't be: the reason.
    Impossible(String),
    /// It leads to another schema than the revision did; it is taken when this is meant.
    OtherSchema,
}

pub(crate) struct Review<'r> {
    rules: &'r Rules,
    files: Vec<File<'r>>,
    pub(crate) fixes: Vec<Fix>,
}

struct File<'r> {
    subject: &'r mut dyn Subject,
    edited: Option<String>,
}

impl<'r> Review<'r> {
    /// Every fix that can be made, file by file from top to bottom.
    pub(crate) fn new<'a: 'r>(
        judged: &'r mut [Judged<'a>],
        environments: &'r mut [JudgedEnvironment<'a>],
        rules: &'r Rules,
    ) -> Self {
        let mut subjects: Vec<&'r mut dyn Subject> = Vec::new();
        subjects.extend(judged.iter_mut().map(|one| -> &'r mut dyn Subject { one }));
        subjects.extend(environments.iter_mut().map(|one| -> &'r mut dyn Subject { one }));
        subjects.sort_by(|a, b| a.shown().cmp(b.shown()));
        let mut review = Self { rules, files: Vec::new(), fixes: Vec::new() };
        for subject in subjects {
            let file = review.files.len();
            let offers = subject.offers(rules).into_iter();
            review.fixes.extend(offers.map(|offer| Fix { offer, decision: Decision::Open, file }));
            review.files.push(File { subject, edited: None });
        }
        review
    }

    /// The file of a fix, as reports show it.
    pub(crate) fn path(&self, fix: usize) -> &str {
        self.files[self.fixes[fix].file].subject.shown()
    }

    /// The first fix from `start` on about which nothing is decided, and which no other one brings along.
    pub(crate) fn next_open(&self, start: usize) -> Option<usize> {
        (start..self.fixes.len())
            .find(|fix| self.fixes[*fix].decision == Decision::Open && !self.is_along(*fix))
    }

    /// Whether an other fix, which is made, brings it along.
    pub(crate) fn is_along(&self, fix: usize) -> bool {
        let Fix { offer, file, decision } = &self.fixes[fix];
        if *decision != Decision::Open {
            return false;
        }
        let choice = self.choice(*file);
        !choice.made.is_empty()
            && self.files[*file].subject.draft(&choice, self.rules).fixed.contains(&offer.key)
    }

    /// What a fix would do; what was decided about itself is left out.
    pub(crate) fn view(&self, fix: usize) -> View {
        let Fix { offer, file, .. } = &self.fixes[fix];
        let subject = &self.files[*file].subject;
        let mut choice = self.choice(*file);
        choice.made.remove(&offer.key);
        choice.suppressed.remove(&offer.key);
        let before = subject.draft(&choice, self.rules);
        choice.made.insert(offer.key.clone());
        let after = subject.draft(&choice, self.rules);
        let along = self.fixes.iter().filter(|other| {
            let key = &other.offer.key;
            other.file == *file
                && *key != offer.key
                && after.fixed.contains(key)
                && !before.fixed.contains(key)
        });
        let nothing = (before.text == after.text).then(|| {
            after.refused.get(&offer.key).cloned().unwrap_or_else(|| "it is there already".to_owned())
        });
        View {
            along: along.map(|other| other.offer.message.clone()).collect(),
            notes: after.notes.into_iter().filter(|note| !before.notes.contains(note)).collect(),
            nothing,
            before: before.text,
            after: after.text,
        }
    }

    /// Decide about one fix.
    pub(crate) fn decide(&mut self, fix: usize, decision: Decision) {
        if self.fixes[fix].decision == Decision::Edited {
            self.discard_edit(self.fixes[fix].file);
        }
        self.fixes[fix].decision = decision;
    }

    /// Decide about a fix and every later one of its file, or of its rule, about which nothing is decided.
    pub(crate) fn decide_from(&mut self, first: usize, wide: Wide, decision: &Decision) {
        let (file, rule) = (self.fixes[first].file, self.fixes[first].offer.key.0);
        self.decide(first, decision.clone());
        let later = self.fixes.iter_mut().skip(first + 1).filter(|fix| match wide {
            Wide::File => fix.file == file,
            Wide::Rule => fix.offer.key.0 == rule,
        });
        for fix in later.filter(|fix| fix.decision == Decision::Open) {
            fix.decision = decision.clone();
        }
    }

    /// Take the diff of a fix as it was edited: from now on the file starts from that text. With `anyway`, also when it
    /// leads to another schema.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(crate) fn edit(&mut self, fix: usize, diff: &str, anyway: bool) -> Result<(), EditError> {
        let before = self.view(fix).before;
        let text = patch::apply(&before, diff).map_err(EditError::Impossible)?;
        let file = self.fixes[fix].file;
        let (left, same) =
            self.files[file].subject.examine(&text, self.rules).map_err(EditError::Impossible)?;
        if !same && !anyway {
            return Err(EditError::OtherSchema);
        }
        self.files[file].edited = Some(text);
        for (index, other) in self.fixes.iter_mut().enumerate().filter(|(_, other)| other.file == file) {
            let is_part = matches!(other.decision, Decision::Made | Decision::Suppressed(_));
            let is_gone = other.decision == Decision::Open && !left.contains(&other.offer.key);
            if index == fix || is_part || is_gone {
                other.decision = Decision::Edited;
            }
        }
        Ok(())
    }

    /// The text as it was read is what counts again.
    fn discard_edit(&mut self, file: usize) {
        self.files[file].edited = None;
        for fix in self.fixes.iter_mut().filter(|fix| fix.file == file) {
            if fix.decision == Decision::Edited {
                fix.decision = Decision::Open;
            }
        }
    }

    /// What is to be done to a file, by what was decided.
    fn choice(&self, file: usize) -> Choice {
        let mut choice = Choice { edited: self.files[file].edited.clone(), ..Choice::default() };
        for fix in self.fixes.iter().filter(|fix| fix.file == file) {
            let key: Key = fix.offer.key.clone();
            match &fix.decision {
                Decision::Made => {
                    choice.made.insert(key);
                }
                Decision::Suppressed(why) => {
                    choice.suppressed.insert(key, why.clone());
                }
                Decision::Open | Decision::Left | Decision::Edited => {}
            }
        }
        choice
    }

    /// What is to be written, by file.
    pub(crate) fn outcomes(&self) -> Vec<Outcome<'_>> {
        let mut outcomes = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            let choice = self.choice(index);
            let draft = file.subject.draft(&choice, self.rules);
            if draft.text == file.subject.original() {
                continue;
            }
            let edited =
                self.fixes.iter().filter(|fix| fix.file == index && fix.decision == Decision::Edited);
            outcomes.push(Outcome {
                path: file.subject.shown(),
                old: file.subject.original(),
                new: draft.text,
                fixes: self.fixes_of(index, &draft.fixed) + edited.count(),
                suppressions: choice.suppressed.len(),
            });
        }
        outcomes
    }

    fn fixes_of(&self, file: usize, keys: &BTreeSet<Key>) -> usize {
        self.fixes.iter().filter(|fix| fix.file == file && keys.contains(&fix.offer.key)).count()
    }

    /// Let the files be what was decided. Otherwise, nothing of them changes.
    pub(crate) fn settle(self, agreed: bool) {
        let choices: Vec<_> = (0..self.files.len())
            .map(|file| if agreed { self.choice(file) } else { Choice::default() })
            .collect();
        for (file, choice) in self.files.into_iter().zip(choices) {
            file.subject.settle(&choice, self.rules);
        }
    }
}

/// What else a decision is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wide {
    File,
    Rule,
}
