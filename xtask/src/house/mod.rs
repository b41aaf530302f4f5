//! The command `house`: counts what the sources are made of, for each crate, with a parser.
//!
//! It reads sources and nothing else. It never judges: there is no limit that a number must keep.
//!
//! Test code (items under `#[cfg(test)]`, a crate's `tests/`, `*tests.rs`) counts only as files,
//! lines and test names. Crates under `tests/` count as code, and all their lines as test lines.
//! Modules are the direct children of `src/`. What a macro expands to is not seen.

mod code;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use proc_macro2::{TokenStream, TokenTree};

use crate::paths;

/// Longer lines are counted.
const MAX_COLUMNS: usize = 100;
/// Longer names of tests are counted, in words.
const MAX_WORDS: usize = 6;

/// Counts the repository.
pub fn run() -> Result<i32> {
    let mut crates = Crates::new();
    walk(&paths::root(), "", &mut crates)?;
    print!("{}", table::report(&crates));
    Ok(0)
}

/// What one crate is made of. A place is `path:line name`.
#[derive(Default)]
struct Counts {
    /// Lines and place of each.
    files: Vec<(usize, String)>,
    functions: Vec<(usize, String)>,
    test_lines: usize,
    wide_lines: usize,
    /// Direct children of `src/`, without the root of the crate.
    modules: BTreeSet<String>,
    /// From a module to whatever it names right below `crate`.
    references: BTreeSet<(String, String)>,
    /// What the root of the crate re-exports, and the module it is from.
    reexports: BTreeMap<String, String>,
    /// Variants and place of each `Action`, `Event` and `*Outcome`.
    enums: Vec<(usize, String)>,
    /// Name and place of each type that is `pub` or `pub(crate)`.
    types: Vec<(String, String)>,
    string_fields: usize,
    string_errors: usize,
    bool_parameters: usize,
    /// How many words each test's name has.
    test_names: Vec<usize>,
    /// Files that are modules under `#[cfg(test)]`, without `.rs`.
    test_modules: BTreeSet<String>,
}

type Crates = BTreeMap<String, Counts>;

/// Counts all files below a directory, that of a module before those of its children.
fn walk(dir: &Path, crate_dir: &str, crates: &mut Crates) -> Result<()> {
    let root = paths::root();
    let relative = |path: &Path| path.strip_prefix(&root).unwrap_or(path).display().to_string();
    let crate_dir =
        if dir.join("Cargo.toml").exists() { relative(dir) } else { crate_dir.to_owned() };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().display().to_string();
        let is_dir = entry.file_type()?.is_dir();
        let is_root = ["lib.rs", "main.rs", "mod.rs"].contains(&name.as_str());
        let is_hidden = name.starts_with('.') || name == "target";
        if is_dir && !is_hidden || !is_dir && name.ends_with(".rs") {
            files.push((is_dir, !is_root, entry.path()));
        }
    }
    files.sort();
    for (is_dir, _, path) in files {
        if is_dir {
            walk(&path, &crate_dir, crates)?;
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let counts = crates.entry(crate_dir.clone()).or_default();
        counts.read(&crate_dir, &relative(&path), &text).with_context(|| relative(&path))?;
    }
    Ok(())
}

impl Counts {
    /// Adds a file of the crate in `crate_dir`. Both paths are relative to the repository.
    fn read(&mut self, crate_dir: &str, path: &str, text: &str) -> Result<()> {
        let lines = text.lines().count();
        self.files.push((lines, path.to_owned()));
        let is_wide = |line: &&str| line.chars().count() > MAX_COLUMNS;
        self.wide_lines += text.lines().filter(is_wide).count();
        let tokens: TokenStream = text.parse().map_err(|error| anyhow!("{error}"))?;
        self.name_tests(tokens.clone());
        let inside = path.strip_prefix(crate_dir).unwrap_or(path).trim_start_matches('/');
        let stem = path.trim_end_matches(".rs");
        if inside.starts_with("tests/")
            || stem.ends_with("tests")
            || self.test_modules.iter().any(|module| Path::new(stem).starts_with(module))
        {
            self.test_lines += lines;
            return Ok(());
        }
        let module = inside.strip_prefix("src/").unwrap_or_default().trim_end_matches(".rs");
        let mut module: Vec<String> = module.split('/').map(str::to_owned).collect();
        module.pop_if(|last| ["", "lib", "main", "mod"].contains(&last.as_str()));
        self.modules.extend(module.first().cloned());
        let file = syn::parse2(tokens)
            .map_err(|error| anyhow!("line {}: {error}", error.span().start().line))?;
        let test_lines = code::read(self, path, module, &file);
        self.test_lines += if path.starts_with("tests/") { lines } else { test_lines };
        Ok(())
    }

    /// Counts the words of `#[test]` functions and scenarios, also of those in macros.
    fn name_tests(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, tree) in trees.iter().enumerate() {
            let name = match &trees[at..] {
                [TokenTree::Punct(_), attribute, rest @ ..]
                    if ["[test]", "[tokio::test]"]
                        .contains(&code::squeezed(attribute).as_str()) =>
                {
                    rest.iter().skip_while(|tree| tree.to_string() != "fn").nth(1).cloned()
                }
                [TokenTree::Ident(name), _, _, _, TokenTree::Group(arguments), ..]
                    if name == "Scenario" =>
                {
                    let first = arguments.stream().into_iter().next();
                    first.filter(|name| matches!(name, TokenTree::Literal(_)))
                }
                _ => None,
            };
            self.test_names.extend(name.map(|name| name.to_string().split('_').count()));
            if let TokenTree::Group(group) = tree {
                self.name_tests(group.stream());
            }
        }
    }

    fn lines(&self) -> usize {
        self.files.iter().map(|file| file.0).sum()
    }

    fn long_names(&self) -> usize {
        self.test_names.iter().filter(|words| **words > MAX_WORDS).count()
    }

    /// The modules that refer to each other, directly or through others.
    fn cycles(&self) -> BTreeSet<Vec<&str>> {
        let module = |name| self.modules.get(self.reexports.get(name).unwrap_or(name));
        let edges = self.references.iter().filter_map(|(from, to)| Some((from, module(to)?)));
        let mut reach: BTreeSet<_> = edges.filter(|(from, to)| from != to).collect();
        for via in &self.modules {
            for from in &self.modules {
                for to in &self.modules {
                    if reach.contains(&(from, via)) && reach.contains(&(via, to)) {
                        reach.insert((from, to));
                    }
                }
            }
        }
        let both = |a, b| reach.contains(&(a, b)) && reach.contains(&(b, a));
        let set = |a| self.modules.iter().filter(|b| both(a, b)).map(String::as_str).collect();
        self.modules.iter().map(set).filter(|set: &Vec<_>| !set.is_empty()).collect()
    }
}
