//! What one file has outside test code, read from its syntax tree.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{FnArg, GenericArgument, Item, PathArguments, Type, Visibility};

use super::Counts;

/// Adds a file that is this module of its crate. Returns how many of its lines only tests build.
pub(super) fn read(
    counts: &mut Counts,
    path: &str,
    module: Vec<String>,
    file: &syn::File,
) -> usize {
    let mut reader = Reader { counts, path, module, signature: None, test_lines: 0 };
    reader.visit_file(file);
    reader.test_lines
}

/// The text of a token without spaces.
pub(super) fn squeezed(tree: &TokenTree) -> String {
    tree.to_string().replace(' ', "")
}

/// The paths in tokens, also those in macros and in the groups of a `use`.
fn paths(tokens: TokenStream, prefix: &[String]) -> Vec<Vec<String>> {
    let (mut found, mut path, mut is_joined) = (Vec::new(), prefix.to_vec(), true);
    for tree in tokens {
        match &tree {
            TokenTree::Ident(name) => {
                if !is_joined {
                    found.push(std::mem::replace(&mut path, prefix.to_vec()));
                }
                path.push(name.to_string());
            }
            TokenTree::Group(group) if is_joined => found.extend(paths(group.stream(), &path)),
            TokenTree::Group(group) => found.extend(paths(group.stream(), &[])),
            _ => {}
        }
        is_joined = matches!(&tree, TokenTree::Punct(punct) if punct.as_char() == ':');
    }
    found.push(path);
    found
}

/// Whether a type is this one, by the last word of its path.
fn is_named(item: &Type, name: &str) -> bool {
    matches!(item, Type::Path(path) if path.path.segments.last().is_some_and(|it| it.ident == name))
}

/// Adds to the counts what one file has outside test code.
struct Reader<'a> {
    counts: &'a mut Counts,
    path: &'a str,
    module: Vec<String>,
    /// Line and place of the function whose body comes next.
    signature: Option<(usize, String)>,
    test_lines: usize,
}

impl Reader<'_> {
    /// Whether only tests build this item: then its lines are counted.
    fn is_test(&mut self, item: &impl ToTokens) -> bool {
        let trees: Vec<TokenTree> = item.to_token_stream().into_iter().collect();
        let mut attributes = trees.chunks_exact(2).take_while(|pair| pair[0].to_string() == "#");
        let is_test = attributes.any(|pair| squeezed(&pair[1]) == "[cfg(test)]");
        if is_test {
            self.test_lines += item.span().end().line - item.span().start().line + 1;
        }
        is_test
    }

    fn place(&self, name: &Ident) -> String {
        format!("{}:{} {name}", self.path, name.span().start().line)
    }

    fn add_type(&mut self, name: &Ident, visibility: &Visibility) {
        if match visibility {
            Visibility::Public(_) => true,
            Visibility::Restricted(limit) => limit.path.is_ident("crate"),
            _ => false,
        } {
            self.counts.types.push((name.to_string(), self.place(name)));
        }
    }

    /// Takes a path through `crate` or `super`: any other stays in its module or leaves the crate.
    fn add_reference(&mut self, path: &[String]) {
        let start = path.iter().position(|name| name == "crate" || name == "super");
        let mut target = self.module.clone();
        for name in &path[start.unwrap_or(path.len())..] {
            match name.as_str() {
                "crate" => target.clear(),
                "super" => drop(target.pop()),
                name => target.push(name.to_owned()),
            }
        }
        if let (Some(from), Some(to)) = (self.module.first(), target.first()) {
            self.counts.references.insert((from.clone(), to.clone()));
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        // That of a trait's method without a body.
        self.signature = None;
        if self.is_test(item) {
            if let Item::Mod(module) = item {
                let file = self.path.trim_end_matches(".rs");
                let roots = ["/lib", "/main", "/mod"];
                let dir = roots.iter().find_map(|root| file.strip_suffix(root)).unwrap_or(file);
                self.counts.test_modules.insert(format!("{dir}/{}", module.ident));
            }
            return;
        }
        match item {
            Item::Mod(module) => {
                self.module.push(module.ident.to_string());
                visit::visit_item(self, item);
                self.module.pop();
                return;
            }
            Item::Enum(item) => self.add_type(&item.ident, &item.vis),
            Item::Struct(item) => self.add_type(&item.ident, &item.vis),
            Item::Type(item) => self.add_type(&item.ident, &item.vis),
            _ => {}
        }
        for path in paths(item.to_token_stream(), &[]) {
            self.add_reference(&path);
            if let (Item::Use(_), [.., name]) = (item, &path[..])
                && self.module.is_empty()
                && let Some(module) = path.iter().find(|it| *it != "crate" && *it != "self")
            {
                self.counts.reexports.insert(name.clone(), module.clone());
            }
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if !self.is_test(item) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        let is_bool =
            |input: &&FnArg| matches!(input, FnArg::Typed(input) if is_named(&input.ty, "bool"));
        self.counts.bool_parameters += signature.inputs.iter().filter(is_bool).count();
        self.signature = Some((signature.fn_token.span.start().line, self.place(&signature.ident)));
        visit::visit_signature(self, signature);
    }

    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        if self.signature.is_some()
            && segment.ident == "Result"
            && let PathArguments::AngleBracketed(arguments) = &segment.arguments
            && let Some(GenericArgument::Type(error)) = arguments.args.get(1)
            && is_named(error, "String")
        {
            self.counts.string_errors += 1;
        }
        visit::visit_path_segment(self, segment);
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        if let Some((first, place)) = self.signature.take() {
            self.counts.functions.push((block.span().end().line - first + 1, place));
        }
        visit::visit_block(self, block);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        self.counts.string_fields += usize::from(is_named(&field.ty, "String"));
        visit::visit_field(self, field);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        let name = item.ident.to_string();
        if name == "Action" || name == "Event" || name.ends_with("Outcome") {
            self.counts.enums.push((item.variants.len(), self.place(&item.ident)));
        }
        visit::visit_item_enum(self, item);
    }
}
