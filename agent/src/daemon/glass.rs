//! What is asked, passed between the state and the executor, and done about break-glass. Closed
//! sets, like the daemon's own.

use std::time::Duration;

use holdfast_policy::break_glass::{GlassReason, GlassRefused, Terms};

use super::message::{Answer, Reply};
use crate::allowances::{ProcessId, Tree, Trust, Why};
use crate::api::{GlassBody, NewCodesBody, Person, RunBody, Secret, WantedBody};
use crate::break_glass::{Challenge, CodeRow, Entry, Proof};
use crate::kernel::AllowanceRow;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GlassAsk {
    /// Everything.
    Status,
    /// Which codes there are.
    Codes,
    /// New codes.
    NewCodes(NewCodesBody, Person),
    /// A challenge to sign.
    Challenge(WantedBody, Person),
    /// Open one.
    Open(Box<GlassBody>, Person),
    /// Make the process that asks the first of its tree.
    Join(Person),
    /// Close it, or the one of this number.
    Close(Option<u64>, Person),
}

/// What is done.
#[derive(Debug)]
pub(crate) enum GlassAction {
    /// Make codes, and write down their hashes.
    MakeCodes(Box<MakeCodes>),
    /// Make a challenge.
    MakeChallenge(Box<MakeChallenge>),
    /// Read who may sign.
    ReadTrust(Box<Signed>),
    /// Write down that one is open, and have the kernel open it.
    Open(Box<Opening>),
    /// Mark a process as the first of its tree.
    Join(Box<Joining>),
    /// Have the kernel close it.
    Close(Box<Closing>),
    /// Have whoever is paused in this zone try again.
    TryAgain(String),
    /// Look after what is set aside on the disk.
    KeepReserve,
    /// Tell everybody.
    Shout(String),
    /// Send this, after a while.
    SendLater(Reply, Answer, Duration),
    /// Count something.
    Count(GlassCount),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum GlassEvent {
    /// Outcome of [`GlassAction::MakeCodes`].
    CodesMade(Box<MakeCodes>, Result<Vec<(CodeRow, Secret)>, String>),
    /// Outcome of [`GlassAction::MakeChallenge`].
    ChallengeMade(Box<MakeChallenge>, Result<Challenge, GlassRefused>),
    /// Outcome of [`GlassAction::ReadTrust`].
    TrustRead(Box<Signed>, Result<Box<Trust>, GlassRefused>),
    /// Outcome of [`GlassAction::Open`]: as it is remembered now, or why it is not open.
    Opened(Box<Opening>, Result<Box<Entry>, Box<NotOpened>>),
    /// Outcome of [`GlassAction::Join`].
    Joined(Box<Joining>, Result<ProcessId, GlassRefused>),
    /// Outcome of [`GlassAction::Close`]: what the kernel had, and whether the first process of its
    /// tree has ended.
    Closed(Box<Closing>, Result<(Option<AllowanceRow>, bool), String>),
}

/// Codes that are to be made.
#[derive(Debug)]
pub(crate) struct MakeCodes {
    /// How many.
    pub(crate) count: u32,
    /// The number of the first.
    pub(crate) first: u64,
    /// Codes that are forgotten.
    pub(crate) forget: Vec<u64>,
    /// How many of those were good.
    pub(crate) replaced: usize,
    /// Who asks.
    pub(crate) person: Person,
    /// Who is waiting.
    pub(crate) reply: Reply,
}

/// A challenge that is to be made.
#[derive(Debug)]
pub(crate) struct MakeChallenge {
    /// What it is for.
    pub(crate) terms: Terms,
    /// Who asks.
    pub(crate) person: Person,
    /// Who is waiting.
    pub(crate) reply: Reply,
}

/// A signed challenge.
#[derive(Debug)]
pub(crate) struct Signed {
    /// The challenge.
    pub(crate) challenge: Challenge,
    /// The signature.
    pub(crate) signature: String,
    /// The command it is for.
    pub(crate) run: Option<RunBody>,
    /// Who opens it.
    pub(crate) person: Person,
    /// Who is waiting.
    pub(crate) reply: Reply,
}

/// One that is to be opened.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Its number.
    pub(crate) number: u64,
    /// What it is for.
    pub(crate) terms: Terms,
    /// What lets it open.
    pub(crate) proof: Proof,
    /// The code as it will be then, if it is one.
    pub(crate) code: Option<CodeRow>,
    /// The challenge that was signed, if it is one.
    pub(crate) challenge: Option<String>,
    /// The command it is for.
    pub(crate) run: Option<RunBody>,
    /// Numbers that are forgotten to make room.
    pub(crate) forget: Vec<u64>,
    /// Who opens it.
    pub(crate) person: Person,
    /// Who is waiting.
    pub(crate) reply: Reply,
}

/// One that was not opened.
#[derive(Debug)]
pub(crate) struct NotOpened {
    /// Why.
    pub(crate) refused: GlassRefused,
    /// As it is remembered, if its number is used.
    pub(crate) entry: Option<Box<Entry>>,
    /// Whether what was to let it open is used up.
    pub(crate) is_spent: bool,
    /// Whether the audit log says that it is open.
    pub(crate) is_recorded: bool,
}

impl NotOpened {
    /// Nothing was changed.
    pub(super) fn untouched(refused: GlassRefused) -> Box<Self> {
        Box::new(Self { refused, entry: None, is_spent: false, is_recorded: false })
    }
}

/// A process that asks to be the first of a tree.
#[derive(Debug)]
pub(crate) struct Joining {
    /// Number of the break-glass.
    pub(crate) number: u64,
    /// Its serial.
    pub(crate) serial: u64,
    /// The tree so far.
    pub(crate) tree: Tree,
    /// Who asks.
    pub(crate) person: Person,
    /// Who is waiting.
    pub(crate) reply: Reply,
}

/// One that is over.
#[derive(Debug)]
pub(crate) struct Closing {
    /// Its number.
    pub(crate) number: u64,
    /// Its serial.
    pub(crate) serial: u64,
    /// Why.
    pub(crate) why: Why,
    /// The first process of its tree.
    pub(crate) first: Option<ProcessId>,
    /// Who closes it, if somebody does.
    pub(crate) by: Option<Person>,
    /// Who is waiting.
    pub(crate) reply: Option<Reply>,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GlassCount {
    /// One was opened, for this zone.
    Opened(String),
    /// One was refused.
    Refused(GlassReason),
}
