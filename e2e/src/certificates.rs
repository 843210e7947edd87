//! Certificates for the tests of TLS, made anew for each, in a temporary folder.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};

/// An authority with a folder for the files of its certificates. The folder is removed when this is dropped.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// A certificate with its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The path of the certificate.
    pub certificate: String,
    /// The path of the key.
    pub key: String,
    /// Its serial number.
    pub serial: u64,
}

const MADE: &str = "a certificate can be made";

impl Authority {
    /// A new authority.
    pub fn new() -> Authority {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("wisp-e2e-{}-authority-{number}", process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder is writable");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect(MADE)).expect(MADE);
        let authority = Authority { issuer, folder };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    /// The path of its own certificate.
    pub fn file(&self) -> String {
        self.path("ca.pem")
    }

    /// A certificate for a server with these names and for 127.0.0.1.
    pub fn server(&self, names: &[&str]) -> Certificate {
        self.issue(names, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        })
    }

    /// Puts another certificate and its key into the files of one.
    pub fn renew(&self, old: &Certificate, new: &Certificate) {
        self.replace(&old.certificate, Some(&new.certificate));
        self.replace(&old.key, Some(&new.key));
    }

    /// Copies a file; the path of the copy.
    pub fn path_of_copy(&self, file: &str) -> String {
        let copy = format!("{file}.copy");
        fs::copy(file, &copy).expect("the folder is writable");
        copy
    }

    /// Puts a copy of another file in the place of a file, in one step. Without one the file is removed.
    pub fn replace(&self, file: &str, by: Option<&str>) {
        match by {
            Some(by) => {
                let copy = self.path("copy");
                fs::copy(by, &copy).and_then(|_| fs::rename(&copy, file)).expect("the folder is writable");
            }
            None => fs::remove_file(file).expect("the folder is writable"),
        }
    }

    /// A certificate for a server that has expired.
    pub fn expired_server(&self) -> Certificate {
        self.issue(&["localhost"], |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    /// A certificate for a client with this common name, and an e-mail address.
    pub fn client(&self, name: &str, mail: &str) -> Certificate {
        self.issue(&[], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.distinguished_name.push(DnType::CommonName, name);
            params.subject_alt_names.push(SanType::Rfc822Name(mail.try_into().expect("an address in ASCII")));
        })
    }

    /// A revocation list with these certificates; its path.
    pub fn revocation_list(&self, revoked: &[&Certificate]) -> String {
        let revoked = revoked.iter().map(|certificate| RevokedCertParams {
            serial_number: SerialNumber::from(certificate.serial),
            revocation_time: date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect(MADE);
        self.write("crl.pem", &list.pem().expect(MADE));
        self.path("crl.pem")
    }

    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        static SERIAL: AtomicU32 = AtomicU32::new(1);
        let serial = u64::from(SERIAL.fetch_add(1, Ordering::Relaxed));
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names in ASCII");
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let key = KeyPair::generate().expect(MADE);
        let certificate = params.signed_by(&key, &self.issuer).expect(MADE);
        let [certificate_file, key_file] = ["pem", "key"].map(|ending| format!("{serial}.{ending}"));
        self.write(&certificate_file, &certificate.pem());
        self.write(&key_file, &key.serialize_pem());
        Certificate { certificate: self.path(&certificate_file), key: self.path(&key_file), serial }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("the temporary folder's name is UTF-8").to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("the temporary folder is writable");
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // If removing it fails, it stays in the temporary folder.
        drop(fs::remove_dir_all(&self.folder));
    }
}
