//! The built-in multi-line rules. Data: [`super::rule`] says what it means, `docs/configuration.md` shows each by example.

/// A rule by tables of regular expressions.
pub(super) struct Preset {
    pub(super) name: &'static str,
    /// The state of a record by its first line; 0 where none matches.
    pub(super) first: &'static [(&'static str, u8)],
    pub(super) states: &'static [State],
}

/// What the next line may be.
pub(super) struct State {
    /// The first that matches counts: the record's next state, or None where the line begins another record.
    pub(super) steps: &'static [(&'static str, Option<u8>)],
    /// For any other line.
    pub(super) otherwise: Option<u8>,
}

/// What continues a record in this state; any other line begins one.
const fn only(steps: &'static [(&'static str, Option<u8>)]) -> State {
    State { steps, otherwise: None }
}

/// Lines that match begin a record; any other continues it.
const fn but(steps: &'static [(&'static str, Option<u8>)]) -> [State; 1] {
    [State { steps, otherwise: Some(0) }]
}

/// Every preset.
pub(super) const ALL: &[Preset] = &[JAVA, PYTHON, GO, NODE, RUBY, DOTNET, KLOG, TIMESTAMP, AUDIT];

const JAVA_FRAME: &str =
    r"^\s+(at |\.\.\. \d+ |- (locked|waiting|parking) )|^\s*(Caused by|Suppressed): ";
const JAVA_HEADER: &str = r"^([\w$]+\.)+[\w$]*(Exception|Error|Throwable)\b";

/// 0: a line of text, which a trace may follow. 1: a trace.
const JAVA: Preset = Preset {
    name: "java",
    first: &[(JAVA_HEADER, 1), (r"^Exception in thread ", 1)],
    states: &[
        only(&[(JAVA_FRAME, Some(1)), (JAVA_HEADER, Some(1))]),
        only(&[(JAVA_FRAME, Some(1))]),
    ],
};

const PYTHON_HEADER: &str = r"^\s*(\+ Exception Group )?Traceback \(most recent call last\):";

/// 0: text. 1: a traceback's frames. 2: behind its exception. 3: a blank line behind that. 4: another one is announced.
const PYTHON: Preset = Preset {
    name: "python",
    first: &[(PYTHON_HEADER, 1)],
    states: &[
        only(&[(PYTHON_HEADER, Some(1)), (r#"^  File ".*", line \d+"#, Some(1))]),
        only(&[(r"^\s|^$", Some(1)), (r"", Some(2))]),
        only(&[(r"^\s+\S", Some(2)), (r"^$", Some(3))]),
        only(&[(r"^(During handling of the above|The above exception was)", Some(4))]),
        only(&[(r"^$", Some(4)), (PYTHON_HEADER, Some(1))]),
    ],
};

const GOROUTINE: &str = r"^goroutine \d+.*\[.*\]:$";
const GO_PANIC: &str = r"^(panic: |fatal error: |unexpected fault address |SIG[A-Z]+: )";

/// 0: text. 1: a panic's message. 2: frames. 3: between two goroutines.
const GO: Preset = Preset {
    name: "go",
    first: &[(GO_PANIC, 1), (GOROUTINE, 2)],
    states: &[
        only(&[(GOROUTINE, Some(2)), (GO_PANIC, Some(1))]),
        only(&[
            (GOROUTINE, Some(2)),
            (r"^runtime stack:", Some(2)),
            (r"^$|^\s|^\[signal |^PC=|^(panic|fatal error): ", Some(1)),
        ]),
        only(&[
            (r"^$", Some(3)),
            (GOROUTINE, Some(2)),
            (r"^\t|^created by |^[^\s:=]+\(.*\)$|^\.\.\.|^r[a-z0-9]+ +0x|^exit status ", Some(2)),
        ]),
        only(&[(GOROUTINE, Some(2)), (r"^runtime stack:|^r[a-z0-9]+ +0x|^exit status ", Some(2))]),
    ],
};

const NODE_FRAME: &str = r"^\s+at |^\s+\[cause\]: ";
const NODE_HEADER: &str = r"^(Uncaught )?[\w$.]*(Error|Exception)( \[[\w$]+\])?(:|$)";

/// 0: text. 1: an error, and its trace. 2–5: the source that threw, up to the error. 6: behind the trace.
const NODE: Preset = Preset {
    name: "node",
    first: &[(NODE_HEADER, 1), (r"^(node:|file://|/).*:\d+$", 2)],
    states: &[
        only(&[(NODE_FRAME, Some(1)), (NODE_HEADER, Some(1))]),
        only(&[(NODE_FRAME, Some(1)), (r"^\s+\S|^[}\]]+$", Some(1)), (r"^$", Some(6))]),
        only(&[(NODE_HEADER, Some(1)), (r"", Some(3))]),
        only(&[(NODE_HEADER, Some(1)), (r"", Some(4))]),
        only(&[(NODE_HEADER, Some(1)), (r"", Some(5))]),
        only(&[(NODE_HEADER, Some(1))]),
        only(&[(r"^Node\.js v\d", Some(6))]),
    ],
};

const RUBY: Preset = Preset {
    name: "ruby",
    first: &[],
    states: &[only(&[
        (r"^\s+from \S+:\d+:in |^\s+\d+: from ", Some(0)),
        (r"^\s*[^\s:]+:\d+:in [`'][^`']*'$", Some(0)),
    ])],
};

const DOTNET_HEADER: &str = r"^([\w`+]+\.)+\w*Exception\b.*: ";

/// 0: text. 1: a trace.
const DOTNET: Preset = Preset {
    name: "dotnet",
    first: &[(DOTNET_HEADER, 1), (r"^Unhandled exception\. ", 1)],
    states: &[
        only(&[(r"^\s+\S", Some(1)), (DOTNET_HEADER, Some(1))]),
        only(&[(r"^\s+\S", Some(1))]),
    ],
};

const KLOG: Preset =
    Preset { name: "klog", first: &[], states: &but(&[(r"^[IWEF]\d{4} \d\d:\d\d:\d\d", None)]) };

/// Dates with the year first, with the day or the month first, syslog's, web servers', and a bare time of day.
const TIMESTAMP: Preset = Preset {
    name: "timestamp",
    first: &[],
    states: &but(&[
        (r"^[\[(<]?\d{4}[-/.]\d\d?[-/.]\d\d?([T ,]|$)", None),
        (r"^[\[(<]?\d\d?[-/. ]([A-Z][a-z]{2}|\d\d?)[-/. ]\d{2,4}[ T,:]+\d\d?:\d\d", None),
        (r"^[\[(<]?([A-Z][a-z]{2},? )?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d", None),
        (r"^[\[(<]?\d\d:\d\d:\d\d([.,\]) ]|$)", None),
    ]),
};

const AUDIT: Preset =
    Preset { name: "audit", first: &[], states: &but(&[(r"^\S+\s+AUDIT:", None)]) };
