//! `loggen <repetitive|mixed> <lines> [seed]`: a corpus on stdout, as a container's log.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use naru_integration::corpus::Corpus;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, lines, seed) = match words[..] {
        [name, lines] => (name, lines, "1"),
        [name, lines, seed] => (name, lines, seed),
        _ => return usage(),
    };
    let (Some(corpus), Ok(lines), Ok(seed)) = (Corpus::parse(name), lines.parse(), seed.parse())
    else {
        return usage();
    };
    let mut out = BufWriter::new(io::stdout().lock());
    match corpus.write(seed, lines, &mut out).and_then(|_| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loggen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: loggen <repetitive|mixed> <lines> [seed]");
    ExitCode::from(64)
}
