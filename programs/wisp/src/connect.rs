//! Connecting with the options of the command line.

use std::env;
use std::fs;
use std::path::Path;

use wisp_client::{Client, ConnectOptions, ServerUrl, TlsOptions, Will};

use crate::args::{Account, Server, Tls};
use crate::failure::Failure;

/// The number of topic aliases that the broker may assign with `--topic-aliases`.
const TOPIC_ALIAS_MAX: u16 = 1000;
const DEFAULT_HOST: &str = "127.0.0.1";

/// The broker of the command line, ready to connect to.
pub(crate) struct Connector {
    url: ServerUrl,
    options: ConnectOptions,
    debug: bool,
}

impl Connector {
    pub(crate) fn new(server: &Server) -> Result<Self, Failure> {
        let url = url(server)?;
        let mut options = ConnectOptions::new(server.mqtt_version).over(&url, &tls_options(&server.tls))?;
        log_in(server, &mut options)?;
        options.keep_alive_s = server.keep_alive_s;
        if let Some(id) = &server.client_id {
            options.client_id.clone_from(id);
        }
        let expiry_s = if server.keeps_session { u32::MAX } else { server.session_expiry_s };
        options.clean_start = server.clean_start || expiry_s == 0;
        if server.mqtt_version.is_v5() {
            options.session_expiry_s = expiry_s;
        } else if server.clean_start && expiry_s > 0 {
            // In MQTT 3 one flag stands for both.
            let text = format!("{} cannot begin a new session and keep it", server.mqtt_version);
            return Err(Failure::Usage(text));
        }
        if server.topic_aliases {
            (options.use_topic_aliases, options.topic_alias_max) = (true, TOPIC_ALIAS_MAX);
        }
        let will = &server.will;
        options.will = will.will_topic.as_ref().map(|topic| {
            let mut message = Will::new(topic, will.will_message.as_str());
            (message.qos, message.retain, message.delay_s) = (will.will_qos, will.will_retain, will.will_delay_s);
            message
        });
        Ok(Self { url, options, debug: server.debug })
    }

    /// Connects to the first of the broker's addresses that answers.
    pub(crate) fn connect(&self) -> Result<Client, Failure> {
        self.tell(|| format!("connecting to {}", self.url));
        let client = Client::connect_to(&self.url, self.options.clone())?;
        self.tell(|| {
            let session = if client.session_present() { "resumed" } else { "new" };
            format!("connected as {} with {}, {session} session", client.client_id(), client.version())
        });
        if let Some(tls) = client.tls_session() {
            self.tell(|| format!("{} with {}", tls.version, tls.suite));
        }
        Ok(client)
    }

    /// The next connections resume the session that this one has begun, if the broker keeps it.
    pub(crate) fn resume_from_now_on(&mut self) {
        if self.options.session_expiry_s > 0 {
            self.options.clean_start = false;
        }
    }

    /// Prints a line about the connection, if wanted.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if self.debug {
            eprintln!("wisp: {}", line());
        }
    }
}

/// The broker's URL: as given, or made of host and port.
fn url(server: &Server) -> Result<ServerUrl, Failure> {
    let given = match (&server.url, &server.account) {
        (Some(_), Some(Account::Url(_))) => return Err(Failure::Usage("the broker's URL was given twice".to_owned())),
        (Some(url), _) | (None, Some(Account::Url(url))) => Some(url),
        (None, _) => None,
    };
    let Tls { cafile, cert, insecure, is_wanted, .. } = &server.tls;
    let has_tls = *is_wanted || *insecure || cafile.is_some() || cert.is_some();
    if let Some(url) = given {
        if server.host.is_some() || server.port.is_some() {
            return Err(Failure::Usage("--host and --port are in place of a URL".to_owned()));
        }
        if *is_wanted && !url.is_secure() {
            return Err(Failure::Usage(format!("--tls is for --host: write {} with mqtts:// or wss://", url)));
        }
        return Ok(url.clone());
    }
    let host = server.host.as_deref().unwrap_or(DEFAULT_HOST);
    if host.contains("://") || host.contains(['/', '@']) {
        return Err(Failure::Usage(format!("--host takes a name or an address: write --url {host}")));
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = server.port.map(|port| format!(":{port}")).unwrap_or_default();
    let url = format!("{}://{host}{port}", if has_tls { "mqtts" } else { "mqtt" });
    url.parse().map_err(|error| Failure::Usage(format!("{url}: {error}")))
}

fn tls_options(tls: &Tls) -> TlsOptions {
    let mut options = TlsOptions::default();
    options.ca_file.clone_from(&tls.cafile);
    options.cert_file.clone_from(&tls.cert);
    options.key_file.clone_from(&tls.key);
    options.insecure = tls.insecure;
    options
}

/// Sets user and password: from arguments, else from a file, else from variables, else from the URL.
fn log_in(server: &Server, options: &mut ConnectOptions) -> Result<(), Failure> {
    let login = &server.login;
    let mut username = login.username.clone();
    if let Some(Account::User(name)) = &server.account
        && username.replace(name.clone()).is_some()
    {
        return Err(Failure::Usage("the user name was given twice".to_owned()));
    }
    let mut password = login.password.clone();
    if let Some(path) = &login.credentials {
        let (user, secret) = read_credentials(path)?;
        username.get_or_insert(user);
        password = Some(secret);
    }
    let username = username.or_else(|| env::var("WISP_USERNAME").ok());
    let password = password.or_else(|| env::var("WISP_PASSWORD").ok());
    if let Some(username) = username {
        options.username = Some(username);
    }
    if let Some(password) = password {
        options.password = Some(password.into_bytes());
    }
    if options.password.is_some() && options.username.is_none() && !options.version.is_v5() {
        let text = format!("{} has no password without a user name: use --username", options.version);
        return Err(Failure::Usage(text));
    }
    Ok(())
}

fn read_credentials(path: &Path) -> Result<(String, String), Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| Failure::Usage(format!("cannot read {shown}: {error}")))?;
    let line = text.lines().next().unwrap_or_default();
    match line.split_once(':') {
        Some((user, password)) if !user.is_empty() => Ok((user.to_owned(), password.to_owned())),
        _ => Err(Failure::Usage(format!("the first line of {shown} is not USER:PASSWORD"))),
    }
}
