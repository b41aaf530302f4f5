//! One component of a path pattern: which names it matches, and whether two of them can match the
//! same name. It never looks at a directory.

use holdfast_abi::NameConf;

use crate::problem::Fault;
use crate::words::quoted;

/// Longest file name Linux has.
const MAX_NAME: usize = 255;

/// One component of a path pattern: a name, or a glob of `*`, `?` and `[…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    text: String,
    tokens: Vec<Token>,
    literal: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Char(char),
    /// `?`: any one character.
    One,
    /// `*`: any characters, or none.
    Many,
    /// `[a-z]`, `[!a-z]`: one character of a set.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Component {
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        check_name(text)?;
        let mut tokens = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            tokens.push(match c {
                '*' if tokens.last() == Some(&Token::Many) => {
                    return Err(Fault::new(
                        "`**` is not supported",
                        "a pattern has a fixed depth: write one `*` for each level",
                    ));
                }
                '*' => Token::Many,
                '?' => Token::One,
                '[' => class(&mut rest)?,
                '{' | '}' => {
                    return Err(Fault::new(
                        "braces are not expanded",
                        "list the paths one by one; `[{]` and `[}]` stand for the characters",
                    ));
                }
                '\\' => {
                    return Err(Fault::new(
                        "a backslash does not take a character's meaning away",
                        "put the character in brackets: `[*]`, `[?]`, `[[]` or `[\\]`",
                    ));
                }
                c => Token::Char(c),
            });
        }
        let literal = tokens
            .iter()
            .map(|token| if let Token::Char(c) = token { Some(*c) } else { None })
            .collect();
        Ok(Self { text: text.to_owned(), tokens, literal })
    }

    /// The component as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The one name it matches, if there is only one: no directory needs to be read to find it.
    pub fn literal(&self) -> Option<&str> {
        self.literal.as_deref()
    }

    /// Whether it matches this name. As in a shell, a dot in front has to be written.
    pub fn matches(&self, name: &[u8]) -> bool {
        if let Some(literal) = &self.literal {
            return literal.as_bytes() == name;
        }
        let name: Vec<char> = String::from_utf8_lossy(name).chars().collect();
        if name.first() == Some(&'.') && self.tokens.first() != Some(&Token::Char('.')) {
            return false;
        }
        // Where to go on if the characters that the last `*` took were too few.
        let (mut token, mut at, mut retry) = (0, 0, None);
        while at < name.len() {
            match self.tokens.get(token) {
                Some(Token::Many) => {
                    token += 1;
                    retry = Some((token, at + 1));
                }
                Some(single) if single.takes(name[at]) => (token, at) = (token + 1, at + 1),
                _ => match retry {
                    Some((after_many, from)) => {
                        (token, at) = (after_many, from);
                        retry = Some((after_many, from + 1));
                    }
                    None => return false,
                },
            }
        }
        self.tokens[token..].iter().all(|token| *token == Token::Many)
    }

    /// The same as the kernel programs match it. `None` if they cannot: it has too many characters,
    /// or a set of others than ASCII.
    pub fn conf(&self) -> Option<NameConf> {
        let hidden = self.tokens.first() == Some(&Token::Char('.'));
        let (stay, within, hidden) = (0, 0, u64::from(hidden));
        let mut conf = NameConf { follow: [0; 256], stay, within, accept: 0, hidden };
        let mut state = NameConf::START;
        let mut follow = |state: &mut u64, takes: &dyn Fn(u8) -> bool| {
            for byte in (0..=u8::MAX).filter(|byte| takes(*byte)) {
                conf.follow[usize::from(byte)] |= *state;
            }
            *state <<= 1;
            (*state != 0).then_some(())
        };
        for token in &self.tokens {
            match token {
                Token::Many => conf.stay |= state,
                Token::Char(c) => {
                    for own in c.encode_utf8(&mut [0; 4]).bytes() {
                        follow(&mut state, &|byte| byte == own)?;
                    }
                }
                Token::Class { ranges, .. } if !ranges.iter().all(|(_, to)| to.is_ascii()) => {
                    return None;
                }
                Token::One | Token::Class { .. } => {
                    // A byte that only goes on with a character starts none.
                    follow(&mut state, &|byte| byte & 0xc0 != 0x80 && token.takes(byte.into()))?;
                    conf.within |= state;
                }
            }
        }
        conf.accept = state;
        Some(conf)
    }

    /// Whether some name could match both. When in doubt, yes.
    pub(crate) fn may_meet(&self, other: &Self) -> bool {
        if let (Some(a), Some(b)) = (&self.literal, &other.literal) {
            return a == b;
        }
        let (a, b) = (&self.tokens, &other.tokens);
        // reached[i][j]: some text can be matched by the first i tokens here and the first j there.
        let mut reached = vec![vec![false; b.len() + 1]; a.len() + 1];
        reached[0][0] = true;
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                if !reached[i][j] {
                    continue;
                }
                let (here, there) = (a.get(i), b.get(j));
                if here == Some(&Token::Many) {
                    reached[i + 1][j] = true;
                    if there.is_some() {
                        reached[i][j + 1] = true;
                    }
                }
                if there == Some(&Token::Many) {
                    reached[i][j + 1] = true;
                    if here.is_some() {
                        reached[i + 1][j] = true;
                    }
                }
                if let (Some(here), Some(there)) = (here, there)
                    && here.may_meet(there)
                {
                    reached[i + 1][j + 1] = true;
                }
            }
        }
        reached[a.len()][b.len()]
    }
}

impl Token {
    /// Whether it stands for this one character.
    fn takes(&self, c: char) -> bool {
        match self {
            Token::Char(own) => *own == c,
            Token::One => true,
            Token::Many => false,
            Token::Class { negated, ranges } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
            }
        }
    }

    /// Whether one character could be taken by both. When in doubt, yes.
    fn may_meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Token::Char(c), other) | (other, Token::Char(c)) => {
                *other == Token::Many || other.takes(*c)
            }
            (
                Token::Class { negated: false, ranges: a },
                Token::Class { negated: false, ranges: b },
            ) => a.iter().any(|a| b.iter().any(|b| a.0 <= b.1 && b.0 <= a.1)),
            _ => true,
        }
    }
}

fn check_name(text: &str) -> Result<(), Fault> {
    let help = "write the path as `realpath` prints it";
    match text {
        "" => return Err(Fault::new("the path has `//` in it", help)),
        "." | ".." => return Err(Fault::new(format!("the path has `{text}` in it"), help)),
        _ => {}
    }
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        let message = format!("the path has the control character {} in it", c.escape_default());
        return Err(Fault::new(message, "guard the directory above it, or rename it"));
    }
    if text.len() > MAX_NAME {
        let message = format!("a name in the path is longer than {MAX_NAME} bytes");
        return Err(Fault::new(message, "no file can have such a name: check the path"));
    }
    Ok(())
}

/// What follows a `[`, up to its `]`.
fn class(rest: &mut std::str::Chars<'_>) -> Result<Token, Fault> {
    let whole = rest.as_str();
    let negated = whole.starts_with(['!', '^']);
    if negated {
        rest.next();
    }
    let mut ranges: Vec<(char, char)> = Vec::new();
    loop {
        let from = match rest.next() {
            Some(']') if !ranges.is_empty() => break,
            Some(c) => c,
            None => return Err(unterminated(whole)),
        };
        let mut ahead = rest.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                *rest = ahead;
                to
            }
            _ => from,
        };
        if to < from {
            let message = format!("the range `{from}-{to}` is empty");
            return Err(Fault::new(
                message,
                format!("write it the other way round: `{to}-{from}`"),
            ));
        }
        ranges.push((from, to));
    }
    match ranges[..] {
        [(from, to)] if from == to && !negated => Ok(Token::Char(from)),
        _ => Ok(Token::Class { negated, ranges }),
    }
}

fn unterminated(whole: &str) -> Fault {
    Fault::new(
        format!("{} opens a set of characters and never closes it", quoted(&format!("[{whole}"))),
        "add the `]`; for the character itself write `[[]`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(text: &str) -> Component {
        Component::parse(text).unwrap()
    }

    #[test]
    fn component_matches_like_a_shell() {
        for (pattern, yes, no) in [
            ("web", "web", "web1"),
            ("web*", "web", "we"),
            ("*.bak", "a.bak.bak", "a.bak.b"),
            ("w?b", "web", "weeb"),
            ("w[a-e]b", "web", "wfb"),
            ("w[!a-e]b", "wfb", "web"),
            ("w[^a-e]b", "wfb", "web"),
            ("[]]", "]", "a"),
            ("[a-]", "-", "b"),
            ("[*]", "*", "a"),
            ("*", "a", ".a"),
            (".*", ".a", "a"),
            ("a*b*c", "axxbyybc", "axxbyyb"),
            ("ü?", "üü", "üüü"),
        ] {
            assert!(glob(pattern).matches(yes.as_bytes()), "{pattern} {yes}");
            assert!(!glob(pattern).matches(no.as_bytes()), "{pattern} {no}");
        }
        assert!(glob("a?").matches(b"a\xff"));
    }

    #[test]
    fn only_single_name_patterns_are_literal() {
        assert_eq!(glob("web[*]").literal(), Some("web*"));
        assert_eq!(glob("web*").literal(), None);
        assert_eq!(glob("web[ab]").literal(), None);
    }

    #[test]
    fn patterns_sharing_a_name_meet() {
        for (a, b) in [
            ("*", "x"),
            ("a*", "*b"),
            ("a?c", "ab*"),
            ("[a-c]x", "[c-e]x"),
            ("*a*", "*b*"),
            ("[!a]", "[!b]"),
        ] {
            assert!(glob(a).may_meet(&glob(b)), "{a} {b}");
            assert!(glob(b).may_meet(&glob(a)), "{b} {a}");
        }
        for (a, b) in [("a*", "b*"), ("*a", "*b"), ("a?", "a"), ("[a-c]", "[d-e]"), ("x", "y")] {
            assert!(!glob(a).may_meet(&glob(b)), "{a} {b}");
            assert!(!glob(b).may_meet(&glob(a)), "{b} {a}");
        }
    }

    #[test]
    fn invalid_component_says_why() {
        for (text, message) in [
            ("", "`//`"),
            (".", "`.`"),
            ("..", "`..`"),
            ("**", "`**`"),
            ("a**b", "`**`"),
            ("{a,b}", "braces"),
            ("a\\*", "backslash"),
            ("a[b", "never closes"),
            ("a[]", "never closes"),
            ("[z-a]", "`z-a` is empty"),
            ("a\tb", "control character \\t"),
        ] {
            let fault = Component::parse(text).unwrap_err();
            assert!(fault.message.contains(message), "{text}: {fault}");
        }
        assert!(Component::parse(&"x".repeat(256)).is_err());
    }

    fn kernel_matches(conf: &NameConf, name: &str) -> bool {
        let step = |states, (index, byte)| conf.next(states, index, byte);
        conf.accepts((0..).zip(name.bytes()).fold(NameConf::START, step))
    }

    #[test]
    fn kernel_takes_what_it_can() {
        assert!(glob(&"x".repeat(NameConf::MAX_CHARS)).conf().is_some());
        assert!(glob(&"x".repeat(NameConf::MAX_CHARS + 1)).conf().is_none());
        assert!(glob("[ä-ü]").conf().is_none());
        assert!(kernel_matches(&glob("*").conf().unwrap(), "a"));
        assert!(!kernel_matches(&glob("*").conf().unwrap(), ".a"));
    }

    proptest! {
        /// A directory is in the zone at once if and only if the survey will find it.
        #[test]
        fn kernel_matches_what_surveys_match(
            pattern in "([.abü*?]|\\[[ab]{1,2}\\]|\\[![ab.]\\]){1,6}", name in "[.abcü日]{1,6}",
        ) {
            let Ok(component) = Component::parse(&pattern) else { return Ok(()) };
            let conf = component.conf().unwrap();
            prop_assert_eq!(kernel_matches(&conf, &name), component.matches(name.as_bytes()));
        }

        /// The promise the check for overlapping zones rests on.
        #[test]
        fn common_match_implies_may_meet(
            a in "[ab*?]{1,5}",
            b in "([ab*?]|\\[[ab]{1,2}\\]|\\[![ab]\\]){1,4}",
            name in "[abc]{1,6}",
        ) {
            let (Ok(a), Ok(b)) = (Component::parse(&a), Component::parse(&b)) else {
                return Ok(());
            };
            if a.matches(name.as_bytes()) && b.matches(name.as_bytes()) {
                prop_assert!(a.may_meet(&b));
                prop_assert!(b.may_meet(&a));
            }
        }

        #[test]
        fn no_text_makes_a_component_panic(text in ".{0,12}", name in ".{0,12}") {
            if let Ok(component) = Component::parse(&text) {
                let _ = component.matches(name.as_bytes());
            }
        }
    }
}
