//! `wisp cert`: a CA of one's own, and certificates of it for a broker and its clients, for a first try of TLS.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::args::Cert;
use crate::failure::Failure;

const DAY: Duration = Duration::from_secs(86_400);
/// The CA outlives the certificates that it signs.
const CA_DAYS: u32 = 3650;
/// The names of a broker on this machine.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(crate) fn run(options: &Cert) -> Result<(), Failure> {
    let folder = &options.folder;
    fs::create_dir_all(folder).map_err(|error| Failure::Usage(format!("cannot make {}: {error}", folder.display())))?;
    let wanted = wanted(options)?;
    // Nothing is written if anything is in the way.
    for file in wanted.iter().flat_map(|identity| [&identity.certificate, &identity.key]) {
        if file.exists() {
            let text = "remove it first, or name another folder; a certificate that is in use is best replaced";
            return Err(Failure::Usage(format!("{} exists: {text}", file.display())));
        }
    }
    let ca = Ca::open(folder)?;
    for identity in &wanted {
        ca.issue(identity, options.days)?;
    }
    let ca_file = folder.join("ca.pem");
    println!("{}: the CA's certificate, for clients to trust (--cafile)", ca_file.display());
    for Identity { certificate, key, about, .. } in &wanted {
        println!("{} and {}: {about}", certificate.display(), key.display());
    }
    println!("Keep the keys secret, above all {}.", folder.join("ca-key.pem").display());
    Ok(())
}

/// A certificate to make.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    /// The subject's common name.
    name: String,
    /// The names and addresses of a server.
    hosts: Vec<String>,
    purpose: ExtendedKeyUsagePurpose,
    about: String,
}

fn wanted(options: &Cert) -> Result<Vec<Identity>, Failure> {
    let (folder, mut wanted) = (&options.folder, Vec::new());
    let files = |name: &str| (folder.join(format!("{name}.pem")), folder.join(format!("{name}-key.pem")));
    let (certificate, key) = files("server");
    // A second call is for another client.
    if options.hosts.is_empty() && !options.clients.is_empty() && certificate.exists() {
        println!("{} is left as it is", certificate.display());
    } else {
        let hosts: Vec<_> =
            if options.hosts.is_empty() { LOCAL_NAMES.map(str::to_owned).to_vec() } else { options.hosts.clone() };
        let about = format!("for a broker at {}", hosts.join(", "));
        let purpose = ExtendedKeyUsagePurpose::ServerAuth;
        wanted.push(Identity { certificate, key, name: hosts[0].clone(), hosts, purpose, about });
    }
    for name in &options.clients {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !name.bytes().all(is_plain) || name.starts_with('.') || ["", "ca", "server"].contains(&name.as_str()) {
            return Err(Failure::Usage(format!("{name:?} cannot be a client's name: use letters, digits, and . _ -")));
        }
        let (certificate, key) = files(name);
        let (purpose, about) = (ExtendedKeyUsagePurpose::ClientAuth, format!("for the client {name}"));
        wanted.push(Identity { certificate, key, name: name.clone(), hosts: Vec::new(), purpose, about });
    }
    Ok(wanted)
}

/// The CA of a folder.
struct Ca(Issuer<'static, KeyPair>);

impl Ca {
    /// The one that is there, or a new one.
    fn open(folder: &Path) -> Result<Self, Failure> {
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca-key.pem"));
        match (certificate.exists(), key.exists()) {
            (true, true) => Self::read(&certificate, &key),
            (false, false) => Self::new(&certificate, &key),
            (has_certificate, _) => {
                let (there, absent) = if has_certificate { (certificate, key) } else { (key, certificate) };
                let (there, absent) = (there.display(), absent.display());
                Err(Failure::Usage(format!("{there} is there without {absent}: name another folder")))
            }
        }
    }

    fn new(certificate: &Path, key_file: &Path) -> Result<Self, Failure> {
        let key = KeyPair::generate().map_err(failed)?;
        let params = ca_params(&key)?;
        let made = params.self_signed(&key).map_err(failed)?;
        write_new(key_file, &key.serialize_pem(), true)?;
        write_new(certificate, &made.pem(), false)?;
        Ok(Self(Issuer::new(params, key)))
    }

    /// The name of the CA is made of its key, so the key is enough, if the certificate is the one that belongs to it.
    fn read(certificate: &Path, key_file: &Path) -> Result<Self, Failure> {
        let unreadable = |error| Failure::Usage(format!("cannot read {}: {error}", key_file.display()));
        let foreign = || {
            let shown = certificate.display();
            Failure::Usage(format!("{shown} is not a CA of wisp cert with its key: name another folder"))
        };
        let pem = fs::read_to_string(key_file).map_err(unreadable)?;
        let key = KeyPair::from_pem(&pem).map_err(|_| foreign())?;
        let der = CertificateDer::from_pem_file(certificate).map_err(|_| foreign())?;
        let has = |bytes: &[u8]| der.windows(bytes.len()).any(|window| window == bytes);
        if !has(key.public_key_raw()) || !has(ca_name(&key).as_bytes()) {
            return Err(foreign());
        }
        Ok(Self(Issuer::new(ca_params(&key)?, key)))
    }

    fn issue(&self, identity: &Identity, days: u32) -> Result<(), Failure> {
        let wrong =
            |error| Failure::Usage(format!("{} cannot be in a certificate: {error}", identity.hosts.join(", ")));
        let mut params = CertificateParams::new(identity.hosts.clone()).map_err(wrong)?;
        params.distinguished_name.push(DnType::CommonName, identity.name.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![identity.purpose.clone()];
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        set_validity(&mut params, days);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.0).map_err(failed)?;
        write_new(&identity.key, &key.serialize_pem(), true)?;
        write_new(&identity.certificate, &certificate.pem(), false)
    }
}

fn ca_params(key: &KeyPair) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, ca_name(key));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, CA_DAYS);
    Ok(params)
}

/// Another name for each CA, so that clients tell an old one from its successor.
fn ca_name(key: &KeyPair) -> String {
    let public = key.public_key_raw();
    let end: String = public[public.len() - 4..].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("Wisp CA {end}")
}

/// From yesterday, for machines whose clock is slow.
fn set_validity(params: &mut CertificateParams, days: u32) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + now + DAY * days;
}

fn failed(error: rcgen::Error) -> Failure {
    Failure::Certificate(format!("cannot make a certificate: {error}"))
}

/// Writes a file that must not exist. A secret one is readable by its owner alone.
fn write_new(path: &Path, text: &str, is_secret: bool) -> Result<(), Failure> {
    let mut open = OpenOptions::new();
    open.write(true).create_new(true);
    set_mode(&mut open, if is_secret { 0o600 } else { 0o644 });
    let written = open.open(path).and_then(|mut file: File| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::Usage(format!("{} exists: remove it first", path.display())),
        _ => Failure::Usage(format!("cannot write {}: {error}", path.display())),
    })
}

#[cfg(unix)]
fn set_mode(open: &mut OpenOptions, mode: u32) {
    use std::os::unix::fs::OpenOptionsExt;
    open.mode(mode);
}

#[cfg(not(unix))]
fn set_mode(_: &mut OpenOptions, _: u32) {}
