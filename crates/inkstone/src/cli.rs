//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::import;

const EXAMPLES: &str = "\
Examples:
  inkstone serve --demo                     a blog with sample posts on http://127.0.0.1:8080
  inkstone import markdown content/blog     posts from a Hugo, Jekyll or Zola site
  inkstone user add ada --role author       an account; the password is asked for
  inkstone doctor                           what is wrong, and what to do about it

Exit codes:
  0  done
  1  failed; stderr says why
  2  the command line or the configuration is not valid; nothing was done";

/// A blog engine: an HTTP API over one data directory.
#[derive(Debug, Parser)]
#[command(name = "inkstone", version, about, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What all commands share.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What all commands share.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of all commands")]
pub struct Common {
    /// Where everything is kept [env: INKSTONE_DATA_DIR] [default: ./inkstone-data]
    #[arg(long, value_name = "DIR", global = true)]
    pub data_dir: Option<String>,
    /// A database server instead of the file in DIR: postgres://user@host/database, mysql://user@host/database,
    /// or @FILE, in which that stands. Never empty: sqlite: is the file in DIR
    #[arg(long, value_name = "URL", global = true)]
    pub database: Option<String>,
    /// The configuration file [env: INKSTONE_CONFIG] [default: DIR/inkstone.toml, if it is there]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<std::path::PathBuf>,
    /// Sets any setting of `inkstone config default`, such as log.filter=debug
    #[arg(long, value_name = "SETTING=VALUE", global = true)]
    pub set: Vec<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the API
    Serve(Serve),
    /// Bring in posts from elsewhere
    #[command(subcommand)]
    Import(import::Import),
    /// Accounts: who may sign in, and what they may do
    #[command(subcommand)]
    User(User),
    /// Personal access tokens, for programs
    #[command(subcommand)]
    Token(Token),
    /// Bring the database to this version of the program
    Migrate(Migrate),
    /// The database itself
    #[command(subcommand)]
    Store(StoreCommand),
    /// Settings: which there are, whether they are valid, where they come from
    #[command(subcommand)]
    Config(Config),
    /// Print the OpenAPI document of a version of the API
    Openapi(OpenApi),
    /// Look for what is wrong, and say what to do about it
    Doctor(Json),
    /// Print the version
    Version(Json),
}

/// Whether a program reads the output.
#[derive(Debug, Clone, Copy, Args)]
pub struct Json {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  inkstone serve
  inkstone serve --listen 0.0.0.0:8080 --data-dir /var/lib/inkstone
  inkstone serve --demo

SIGTERM and SIGINT finish what is running and stop; a second one stops at once.
SIGHUP reads the log filter and the TLS certificate again.")]
pub struct Serve {
    /// Where the API listens, such as 127.0.0.1:8080 or [::]:8080
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Where probes and metrics listen; empty for nowhere
    #[arg(long, value_name = "ADDR")]
    pub operations_listen: Option<String>,
    /// Fill in a small sample blog, unless it is there already
    #[arg(long)]
    pub demo: bool,
}

/// `user`.
#[derive(Debug, Subcommand)]
pub enum User {
    /// Make an account; the password is asked for
    #[command(after_help = "\
Examples:
  inkstone user add ada --role administrator --email ada@example.org
  pass show blog/ada | inkstone user add ada --role author --password-stdin
  inkstone user add bob --role author --no-password     (writes by token only)")]
    Add(UserAdd),
    /// List accounts
    List(Json),
    /// Give an account another role
    SetRole {
        /// Handle, e-mail address or number of the account
        user: String,
        /// The role
        role: RoleName,
    },
    /// Give an account a new password; ends all its sessions
    SetPassword {
        /// Handle, e-mail address or number of the account
        user: String,
        /// Read the password from stdin (its first line)
        #[arg(long)]
        password_stdin: bool,
    },
    /// Shut an account out; ends all its sessions and tokens at once
    Disable {
        /// Handle, e-mail address or number of the account
        user: String,
    },
    /// Let an account in again
    Enable {
        /// Handle, e-mail address or number of the account
        user: String,
    },
}

/// `user add`.
#[derive(Debug, Args)]
pub struct UserAdd {
    /// The handle: the name in addresses and at sign-in (a-z, 0-9, hyphens)
    pub handle: String,
    /// The name that readers see [default: the handle]
    #[arg(long)]
    pub name: Option<String>,
    /// The e-mail address; private
    #[arg(long)]
    pub email: Option<String>,
    /// The role
    #[arg(long, default_value = "author")]
    pub role: RoleName,
    /// Read the password from stdin (its first line)
    #[arg(long, conflicts_with = "no_password")]
    pub password_stdin: bool,
    /// Make an account that cannot sign in with a password
    #[arg(long)]
    pub no_password: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The roles, each including those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// Keeps an account
    Reader,
    /// Writes drafts, which somebody else publishes
    Contributor,
    /// Writes and publishes posts of their own
    Author,
    /// Looks after everybody's posts and tags
    Editor,
    /// Looks after the site and its people
    Administrator,
}

/// `token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token; it is shown once
    #[command(after_help = "\
Scopes: read, posts:write, tags:write, account, users:write. A token never allows more than its
owner's role.

Example:
  inkstone token create --user ada --name \"static site build\" --scopes read --expires 90d")]
    Create(TokenCreate),
    /// List tokens, without their secrets
    List {
        /// Only those of this account (handle, e-mail address or number)
        #[arg(long)]
        user: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a token at once
    Revoke {
        /// The number of the token, from `token list`
        id: i64,
    },
}

/// `token create`.
#[derive(Debug, Args)]
pub struct TokenCreate {
    /// Whose: handle, e-mail address or number of the account
    #[arg(long)]
    pub user: String,
    /// What it is for
    #[arg(long)]
    pub name: String,
    /// What it may be used for, separated by spaces or commas
    #[arg(long, default_value = "read")]
    pub scopes: String,
    /// How long it lives, in days: 90d
    #[arg(long, default_value = "90d")]
    pub expires: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `migrate`.
#[derive(Debug, Args)]
pub struct Migrate {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `store`.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Move a blog to another database: copies everything, and checks it
    #[command(after_help = "\
A database is named by postgres://user@host/database, mysql://user@host/database, by sqlite:DIR or DIR
(a data directory), or by @FILE, a file in which that stands: what is on the command line, everybody on
the machine can see.

Stop the servers of both first. The target must be empty; its tables are made. If the copy is
interrupted, run the same command again: it goes on where it stopped. No server starts on a copy that is
not whole. At the end both are read from end to end and compared by counts and SHA-256.

Examples:
  inkstone store copy --from sqlite:/var/lib/inkstone --to @/etc/inkstone/database
  inkstone store copy --from @/etc/inkstone/database --to sqlite:./laptop
  inkstone store copy --from ./one --to ./two --verify

Exit codes: 0 the target is the same as the source; 1 it is not, or could not be made so.")]
    Copy(StoreCopy),
}

/// `store copy`.
#[derive(Debug, Args)]
pub struct StoreCopy {
    /// The database to copy
    #[arg(long, value_name = "URL")]
    pub from: String,
    /// The empty database to copy it to
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// Only compare the two, and write nothing
    #[arg(long, conflicts_with = "restart")]
    pub verify: bool,
    /// Throw away an unfinished copy in the target, and begin anew
    #[arg(long)]
    pub restart: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print every setting with its default and what it does
    Default,
    /// Say whether the settings are valid
    Check(Json),
    /// Print the settings in effect and where each came from
    Show(Json),
}

/// `openapi`.
#[derive(Debug, Args)]
pub struct OpenApi {
    /// Which version
    pub version: ApiVersion,
}

/// The versions of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ApiVersion {
    /// The simple contract
    V1,
    /// The rich contract
    V2,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
