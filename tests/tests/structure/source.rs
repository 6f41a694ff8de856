//! Reads Rust sources as far as their imports: which paths a file names, and where they lead.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A path in a module tree: `["store", "cache"]`.
pub type ModulePath = Vec<String>;

/// A crate's modules without its tests, each with the paths that it names.
pub struct Crate {
    pub modules: BTreeMap<ModulePath, Vec<ModulePath>>,
}

impl Crate {
    /// Reads all files below `src`.
    pub fn read(src: &Path) -> Self {
        let mut files = BTreeMap::new();
        collect(src, &mut Vec::new(), &mut files);
        let mut tests = BTreeSet::new();
        let mut code = BTreeMap::new();
        for (module, text) in files {
            let (text, test_modules) = without_tests(&tokens(&text));
            tests.extend(test_modules.into_iter().map(|name| joined(&module, &[name])));
            code.insert(module, text);
        }
        code.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        let modules = code.into_iter().map(|(module, tokens)| (module, paths(&tokens))).collect();
        Self { modules }
    }

    /// The modules of this crate that `module` names, each once.
    pub fn imports_of(&self, module: &ModulePath) -> BTreeSet<ModulePath> {
        let named = &self.modules[module];
        let aliases = self.aliases(module, named);
        let targets = named.iter().filter_map(|path| self.target(module, path, &aliases));
        targets.filter(|target| target != module).collect()
    }

    /// Paths outside this crate that `module` names.
    pub fn names_outside(&self, module: &ModulePath) -> impl Iterator<Item = &ModulePath> {
        self.modules[module].iter().filter(|path| !matches!(path[0].as_str(), "crate" | "self" | "super"))
    }

    /// Modules that are in scope by their last name: `use crate::usecases::groups;`.
    fn aliases(&self, module: &ModulePath, named: &[ModulePath]) -> BTreeMap<String, ModulePath> {
        let in_scope = named.iter().filter_map(|path| self.absolute(module, path));
        in_scope
            .filter(|path| self.modules.contains_key(path))
            .filter_map(|path| Some((path.last()?.clone(), path)))
            .collect()
    }

    fn absolute(&self, module: &ModulePath, path: &ModulePath) -> Option<ModulePath> {
        let rest = |skip: usize| path[skip..].to_vec();
        match path[0].as_str() {
            "crate" => Some(rest(1)),
            "self" => Some(joined(module, &path[1..])),
            "super" => {
                let up = path.iter().take_while(|name| *name == "super").count();
                Some(joined(&module[..module.len().checked_sub(up)?], &path[up..]))
            }
            _ => None,
        }
    }

    fn target(
        &self,
        module: &ModulePath,
        path: &ModulePath,
        aliases: &BTreeMap<String, ModulePath>,
    ) -> Option<ModulePath> {
        let mut found = match self.absolute(module, path) {
            Some(found) => found,
            None => match aliases.get(&path[0]) {
                Some(alias) => joined(alias, &path[1..]),
                None => joined(module, path),
            },
        };
        let is_inside = self.absolute(module, path).is_some() || aliases.contains_key(&path[0]);
        while !self.modules.contains_key(&found) {
            found.pop()?;
        }
        // A name that is neither a module in scope nor below this one comes from outside.
        (is_inside || found.len() > module.len()).then_some(found)
    }
}

fn joined(base: &[String], rest: &[String]) -> ModulePath {
    base.iter().chain(rest).cloned().collect()
}

fn collect(folder: &Path, at: &mut ModulePath, files: &mut BTreeMap<ModulePath, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            at.push(stem);
            collect(&path, at, files);
            at.pop();
        } else if path.extension().is_some_and(|found| found == "rs") {
            let is_root = matches!(stem.as_str(), "lib" | "main" | "mod");
            let module = if is_root { at.clone() } else { joined(at, &[stem]) };
            files.entry(module).or_default().push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Words, `::`, and single characters of punctuation; no comments, no literals.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |position: usize| chars.get(position).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            while i < chars.len() && !(chars[i] == '*' && at(i + 1) == '/') {
                i += 1;
            }
            i += 2;
        } else if c == 'r' && (at(i + 1) == '"' || (at(i + 1) == '#' && matches!(at(i + 2), '"' | '#'))) {
            let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
            i += hashes + 2;
            while i < chars.len() && !(chars[i] == '"' && (1..=hashes).all(|n| at(i + n) == '#')) {
                i += 1;
            }
            i += hashes + 1;
        } else if c == '"' {
            i += 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while i < chars.len() && chars[i] != '\'' {
                i += 1;
            }
            i += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let end =
                (i..chars.len()).find(|n| !(chars[*n].is_alphanumeric() || chars[*n] == '_')).unwrap_or(chars.len());
            tokens.push(chars[i..end].iter().collect());
            i = end;
        } else if c == ':' && at(i + 1) == ':' {
            tokens.push("::".to_owned());
            i += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            i += 1;
        }
    }
    tokens
}

/// Leaves out each item under `#[cfg(test)]`; tells which modules in files of their own are such.
fn without_tests(tokens: &[String]) -> (Vec<String>, Vec<String>) {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut i = 0;
    while i < tokens.len() {
        if !tokens[i..].iter().map(String::as_str).take(TEST.len()).eq(TEST) {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        }
        i += TEST.len();
        let item = &tokens[i..];
        let depths = item.iter().scan(0, |depth, token| {
            *depth += i32::from(token == "{") - i32::from(token == "}");
            Some(*depth)
        });
        let mut ends = item.iter().zip(depths).enumerate();
        let end = ends.find(|(_, (token, depth))| *depth == 0 && matches!(token.as_str(), "}" | ";"));
        let end = end.map_or(item.len(), |(position, _)| position + 1);
        if let Some(position) = item[..end].iter().position(|token| token == "mod")
            && item[position + 2] == ";"
        {
            modules.push(item[position + 1].clone());
        }
        i += end;
    }
    (kept, modules)
}

/// Every path of at least two names, and all that `use` brings in.
fn paths(tokens: &[String]) -> Vec<ModulePath> {
    let is_name = |token: &String| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i] == "use" {
            i = use_tree(tokens, i + 1, &[], &mut found);
        } else if is_name(&tokens[i]) && tokens.get(i + 1).is_some_and(|token| token == "::") {
            let mut path = vec![tokens[i].clone()];
            i += 1;
            while tokens.get(i).is_some_and(|token| token == "::") && tokens.get(i + 1).is_some_and(is_name) {
                path.push(tokens[i + 1].clone());
                i += 2;
            }
            found.push(path);
        }
        i += 1;
    }
    found
}

/// Reads one tree of a `use`, and answers where it ends.
fn use_tree(tokens: &[String], mut i: usize, base: &[String], found: &mut Vec<ModulePath>) -> usize {
    let mut path = base.to_vec();
    while i < tokens.len() {
        match tokens[i].as_str() {
            "::" => {}
            "{" => {
                i += 1;
                while tokens[i] != "}" {
                    i = use_tree(tokens, i, &path, found);
                    if tokens[i] == "," {
                        i += 1;
                    }
                }
                return i + 1;
            }
            "," | "}" | ";" | "<" => break,
            "as" => i += 1,
            "*" => {}
            "self" if !path.is_empty() => {}
            name => path.push(name.to_owned()),
        }
        i += 1;
    }
    if !path.is_empty() {
        found.push(path);
    }
    i
}

#[test]
fn paths_are_found_in_trees_and_in_code_but_not_in_comments_literals_and_tests() {
    let text = r##"
        use crate::{a::{self, b::C}, d as e};
        // use crate::comment;
        fn f<'a>(x: &'a str) -> std::io::Result<char> { super::g("crate::literal", 'x', r#"crate::raw"#) }
        #[cfg(test)]
        mod tests;
        #[cfg(test)]
        mod more { use crate::h; }
    "##;
    let (kept, tests) = without_tests(&tokens(text));
    let paths: Vec<String> = paths(&kept).iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["crate::a", "crate::a::b::C", "crate::d", "std::io::Result", "super::g"]);
    assert_eq!(tests, ["tests"]);
}
