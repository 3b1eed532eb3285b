from worker.message cimport Request

cdef class Client:
    cdef public str address, asked, listener, tls_version, tls_cipher
    cdef public int port
    cdef public long long asn, bans_seen
    cdef public bytes bucket_key, alt_svc
    cdef public bint trusted, has_entered, is_counted
    cdef public object access, country, identity

cdef class Context:
    cdef public Request request
    cdef public Client client, peer
    cdef public bytes request_id, key, origin_target, origin_host
    cdef public long long started_ns, ended_ns, now_ns, bytes_in, bytes_out, age_s, ttl_s, connect_ns, first_byte_ns, delay_ns
    cdef public double now_s
    cdef public int status, forwarded_status, retries
    cdef public bint stored, refresh, is_counted
    cdef public str origin
    cdef public object route, block, outcome, forward, not_storable, revalidate, collapsed, inform, error, identity, waf, pending
    cdef public object leaks
