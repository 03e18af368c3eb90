//! Deep expressions: the engine walks them by recursion, in which a long chain of operators could
//! run out of stack and end the process. Chains are limited, and planned on a stack of their own.

use futures::channel::oneshot;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{Error, ErrorKind, Result};

/// Operators in a row without a comma between them.
const CHAIN_MAX: usize = 400;
/// Bytes of stack for planning; address space, not memory.
const STACK_BYTES: usize = 256 << 20;

/// Refuses chains that are too long.
///
/// # Errors
/// `TooLarge`; a text without tokens is left to the parser.
pub(super) fn check(text: &str) -> Result<()> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize() else { return Ok(()) };
    let mut chain = 0_usize;
    for token in &tokens {
        match token {
            Token::Comma => chain = 0,
            Token::Word(word) => match word.keyword {
                Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::LIKE
                | Keyword::IS
                | Keyword::IN
                | Keyword::CASE
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::JOIN => chain += 1,
                _ => {}
            },
            Token::Whitespace(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Period
            | Token::SemiColon
            | Token::RParen => {}
            _ => chain += 1,
        }
        if chain > CHAIN_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "the query has too many operators in a row: use IN (...), or a table to join with",
            )
            .with("operators_max", CHAIN_MAX));
        }
    }
    Ok(())
}

/// Runs `work` on a thread with a large stack; it goes on using this runtime.
///
/// # Errors
/// Those of `work`; `Unavailable` if there is no thread.
pub(super) async fn on_a_large_stack<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let runtime = tokio::runtime::Handle::current();
    let (done, mut answer) = oneshot::channel();
    let (alive, ended) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("mountable-plan".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // Whoever asked may be gone before the plan is made.
            let work = futures::future::select(Box::pin(work), ended);
            if let futures::future::Either::Left((outcome, _)) = runtime.block_on(work) {
                drop(done.send(outcome));
            }
        })
        .map_err(|error| Error::unavailable("start a thread").caused_by(error))?;
    let outcome = (&mut answer).await;
    drop(alive);
    outcome.unwrap_or_else(|_| Err(Error::internal("the query could not be planned")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_chains_are_refused_and_long_lists_are_not() {
        let chain = vec!["a = 1"; CHAIN_MAX].join(" OR ");
        assert!(check(&format!("SELECT * FROM t WHERE {chain}")).is_err());
        let list = vec!["'x'"; 20_000].join(", ");
        assert!(check(&format!("SELECT * FROM t WHERE a IN ({list})")).is_ok());
        let columns = vec!["a + 1"; 2_000].join(", ");
        assert!(check(&format!("SELECT {columns} FROM t")).is_ok());
        assert!(check("SELECT 'unfinished").is_ok(), "the parser says why");
    }
}
