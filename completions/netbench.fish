# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_netbench_global_optspecs
    string join \n h/help V/version
end

function __fish_netbench_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_netbench_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_netbench_using_subcommand
    set -l cmd (__fish_netbench_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c netbench -n "__fish_netbench_needs_command" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_needs_command" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "run" -d 'Make a topology, prove it, measure it, report, and remove it again'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "history" -d 'List what is kept, the latest last'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "show" -d 'Show what is kept, as the command that measured it did'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "compare" -d 'Compare two runs, round by round: a rank test, and a least difference that matters'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "export" -d 'Write what is kept for other tools'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "report" -d 'Write what is kept as one self-contained HTML page'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "topo" -d 'Make, look at and remove topologies'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "nic" -d 'Look at the network interfaces of this host as hardware'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "mtu" -d 'Find what a path carries, and which MTU is best'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "sweep" -d 'Vary any keys of a topology, measure all variants in interleaved rounds, and compare'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "overhead" -d 'Measure the bare host, then with a namespace and veth, a bridge, VXLAN, Open vSwitch: what each layer costs'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "search" -d 'Find the highest rate that meets limits of loss and latency, by many short trials (the idea of MLRsearch, RFC 9971)'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "serve" -d 'Answer `netbench stream` and `netbench mtu probe` on other hosts, until Ctrl-C'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "stream" -d 'Measure between this host and one that runs `netbench serve`, without a topology'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "offload" -d 'Are the offloads of a path right, and which of them breaks it?'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "explain" -d 'Explain the code of a mistake, such as NB012'
complete -c netbench -n "__fish_netbench_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c netbench -n "__fish_netbench_using_subcommand run" -l test -d 'Tests, separated by commas: tcp_stream, tcp_maerts, tcp_bidir, tcp_sendfile, udp_stream, frame_stream, tcp_rr, udp_rr, tcp_crr, tcp_cc [default: tcp_stream,tcp_rr]' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l duration -d 'Length of one round, such as 3s or 100ms [default: the file\'s, or 500ms]' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -s n -l bytes -d 'End each stream after so many bytes of payload, to the byte, such as 100m (stream --iperf3: all streams together); --duration is then the longest it may take [default then: 1m]' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -s k -l blocks -d 'End each stream after so many blocks of --length, datagrams or frames' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l transactions -d 'End each stream of requests after so many transactions' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l rounds -d 'Rounds of each test, interleaved, or `auto`: five, and more until every median is known to ±2 %, for two minutes at most [default: the file\'s, or as auto, for eight seconds at most]' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l budget -d 'The time for all rounds, where their number is not said; the first five are run in any case' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l omit -d 'Warm-up before each round, left out of every figure' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l streams -d 'Parallel streams [default: 1]' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l length -d 'Bytes of a block (streams), datagram or request [default: whole segments in 64k, a full packet, or 1]' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l response -d 'Bytes of a response' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l rate -d 'Rate of each stream, such as 5gbit, or requests on a schedule, such as 20000/s; without it as fast as it goes' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l socket-buffer -d 'SO_SNDBUF and SO_RCVBUF to ask for' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l send -d 'How streams send: write, sendfile, zerocopy, splice or uring (TCP), write, mmsg or gso (UDP). Frames: write, mmsg or ring' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l recv -d 'How they receive: recv, trunc or splice (nothing is copied), zerocopy (pages are mapped) or uring (TCP), recv, mmsg or gro (UDP)' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l io -d '`auto` chooses what --send and --recv leave open by a short measurement; it may choose not to copy the payload' -r -f -a "usual\t'Each test\'s usual way: both sides copy'
auto\t'The fastest, measured'"
complete -c netbench -n "__fish_netbench_using_subcommand run" -l profile -d 'A line rate to be reached: 1g, 10g, 25g, 40g or 100g. Streams and tests are chosen for it, and the result says PASS (95 % of the path\'s ceiling) or FAIL (exit 1)' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l cpus -d 'CPUs of the data threads, such as 0,1 for both sides or 0-3/4-7 for client and server; stream by stream in turn' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l numa -d 'Their CPUs are those of a NUMA node, such as 0, or 0/1 for client and server' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l placement -d 'How far apart the two ends of a stream run: same-core, sibling (two threads of a core), same-node, or spread (two NUMA nodes, or as far as there is). Chosen among the CPUs of --cpus or --numa, if given' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l burst -d 'Requests kept in flight beside the first, pipelined (tcp_rr, udp_rr)' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l verify -d 'Check the payload: streams of blocks or datagrams made from a seed, each with its CRC32C; exit 3 when one is corrupt' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l frame-size -d 'frame_stream: bytes of a frame, its check sequence among them, 64 to 9018 [default: 64]' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l under -d 'Measure the latency of requests idle and, in rounds between, beside this stream: tcp_stream, tcp_maerts, tcp_bidir or udp_stream' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -s M -l mss -d 'TCP_MAXSEG, bytes' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -s C -l congestion -d 'TCP congestion control, such as cubic or bbr' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l dscp -d 'Differentiated services code point of what is sent, 0 to 63' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l flow-label -d 'IPv6 flow label of what is sent, 1 to 0xfffff; over IPv4 there is none' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l pacing-rate -d 'SO_MAX_PACING_RATE of each socket (datagrams: honoured by the fq qdisc only)' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l pacing -d 'Streams with a rate: what keeps it, fq (the egress device\'s queueing discipline) or auto, and for udp_stream timer or spin too; what did, and the gaps of datagrams, are reported' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l recv-lowat -d 'SO_RCVLOWAT: a receiver of a byte stream sleeps until that much is there' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l sndbuf -d 'SO_SNDBUF of the sockets, over --socket-buffer' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l rcvbuf -d 'SO_RCVBUF of the sockets, over --socket-buffer' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l busy-poll -d 'SO_BUSY_POLL, microseconds (raising it needs CAP_NET_ADMIN)' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l flow -d 'Who talks to whom, instead of the declared flows; may be repeated' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l pairs -d 'Pairs that run at the same time, such as a:b,b:a,c:d, each with --streams streams; the report has each and the sum' -r
complete -c netbench -n "__fish_netbench_using_subcommand run" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand run" -l format -d 'How to print: text, json (the record), or iperf3, as `iperf3 -J` does (one document a round of a stream test)' -r -f -a "text\t'For people'
json\t'netbench\'s own record'
iperf3\t'As `iperf3 -J` does'"
complete -c netbench -n "__fish_netbench_using_subcommand run" -l emulate -d 'Emulate the profile\'s line rate on virtual links: a shaper at both ends of every flow'
complete -c netbench -n "__fish_netbench_using_subcommand run" -l nodelay -d 'TCP_NODELAY for streams too'
complete -c netbench -n "__fish_netbench_using_subcommand run" -l qdisc-bypass -d 'Frames go to the device past its queueing discipline'
complete -c netbench -n "__fish_netbench_using_subcommand run" -l spin -d 'Request/response threads never sleep in a receive'
complete -c netbench -n "__fish_netbench_using_subcommand run" -l all-pairs -d 'The same with every node to every other, both ways'
complete -c netbench -n "__fish_netbench_using_subcommand run" -l no-store -d 'Do not keep the outcome'
complete -c netbench -n "__fish_netbench_using_subcommand run" -l keep -d 'Leave the topology up afterwards'
complete -c netbench -n "__fish_netbench_using_subcommand run" -l live -d 'Watch it on the whole terminal: throughput, round trips and retransmits of each stream, CPUs, hops; `q` ends it'
complete -c netbench -n "__fish_netbench_using_subcommand run" -l json -d 'Print the record as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand run" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand history" -l topology -d 'Of this topology only' -r
complete -c netbench -n "__fish_netbench_using_subcommand history" -l kind -d 'Of this kind only: run, sweep, overhead, mtu-probe, mtu-tune, search, offload-verify or offload-bisect' -r
complete -c netbench -n "__fish_netbench_using_subcommand history" -l fingerprint -d 'Of the same topology, machine, devices, offloads and version as this run only: a fingerprint that --json shows' -r
complete -c netbench -n "__fish_netbench_using_subcommand history" -l since -d 'Begun then or later, such as 2026-11 or 2026-11-24T10:00' -r
complete -c netbench -n "__fish_netbench_using_subcommand history" -l limit -d 'At most so many, the latest' -r
complete -c netbench -n "__fish_netbench_using_subcommand history" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand history" -l json -d 'Print them as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand history" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand history" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand show" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand show" -l json -d 'Print it as JSON, as the command did with `--json`'
complete -c netbench -n "__fish_netbench_using_subcommand show" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand show" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand compare" -l effect -d 'The least difference that matters, percent [default: 5, of CPU 10]' -r
complete -c netbench -n "__fish_netbench_using_subcommand compare" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand compare" -l force -d 'Compare them although topology, machine, devices, offloads or version differ'
complete -c netbench -n "__fish_netbench_using_subcommand compare" -l json -d 'Print the comparison as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand compare" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand compare" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand export" -l format -d 'json, jsonl, csv, markdown, junit, openmetrics, influx or iperf3' -r
complete -c netbench -n "__fish_netbench_using_subcommand export" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand export" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand report" -s o -l output -d 'The file to write; `-` is standard output' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand report" -l history -d 'Outcomes of the same kind and topology in the history, at most' -r
complete -c netbench -n "__fish_netbench_using_subcommand report" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand report" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand report" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "check" -d 'Check a topology file offline: all mistakes at once'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "new" -d 'Print a shipped topology, as a file to edit'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "graph" -d 'Draw a topology as Mermaid, Graphviz or SVG'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "schema" -d 'Print the JSON schema of topology files, for editors'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "plan" -d 'Show what an apply would do, in order, with the addresses and MTU of every interface'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "apply" -d 'Make a topology; a second time, change only what differs'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "verify" -d 'Compare what is there with what is declared, field by field; exit 1 on drift'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "show" -d 'Show a topology that is up: namespaces, interfaces, paths'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "list" -d 'List the topologies that are up, and those that an interrupted command left'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "exec" -d 'Run a command in the namespace of a node, host or the fabric'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "destroy" -d 'Remove a topology: by name, by file, or all of ours'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "gc" -d 'Remove what interrupted commands left; topologies that are up stay'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and not __fish_seen_subcommand_from check new graph schema plan apply verify show list exec destroy gc help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from check" -l json -d 'Print mistakes and warnings as JSON to stdout'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from new" -l list -d 'List the shipped topologies'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from new" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from new" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from graph" -l format -d 'What to draw for' -r -f -a "mermaid\t'Mermaid flowchart, as GitHub and GitLab show it in Markdown'
dot\t'Graphviz'
svg\t'A picture for any browser'"
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from graph" -l json -d 'Print what would be drawn as JSON, in the shape of `topo show`'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from graph" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from graph" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from schema" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from plan" -l json -d 'Print the plan as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from plan" -l offline -d 'Plan for a host where nothing of the topology exists, without looking at this one'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from plan" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from plan" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from apply" -l no-prove -d 'Do not send the packets that prove the MTU of every declared path'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from apply" -l json -d 'Print the outcome as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from apply" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from apply" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from verify" -l prove -d 'Also prove with traffic: the MTU of every declared path, the VLANs of switches, and what NICs were told of their virtual functions; exit 1 on what does not hold'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from verify" -l json -d 'Print the outcome as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from verify" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from show" -l json -d 'Print it as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from list" -l json -d 'Print the list as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from exec" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from exec" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from destroy" -l all -d 'Remove every topology of ours'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from destroy" -l json -d 'Print the outcome as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from destroy" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from destroy" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from gc" -l json -d 'Print the outcome as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from gc" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from gc" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "check" -d 'Check a topology file offline: all mistakes at once'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "new" -d 'Print a shipped topology, as a file to edit'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "graph" -d 'Draw a topology as Mermaid, Graphviz or SVG'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "schema" -d 'Print the JSON schema of topology files, for editors'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "plan" -d 'Show what an apply would do, in order, with the addresses and MTU of every interface'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "apply" -d 'Make a topology; a second time, change only what differs'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Compare what is there with what is declared, field by field; exit 1 on drift'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show a topology that is up: namespaces, interfaces, paths'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the topologies that are up, and those that an interrupted command left'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "exec" -d 'Run a command in the namespace of a node, host or the fabric'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "destroy" -d 'Remove a topology: by name, by file, or all of ours'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "gc" -d 'Remove what interrupted commands left; topologies that are up stay'
complete -c netbench -n "__fish_netbench_using_subcommand topo; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and not __fish_seen_subcommand_from list show help" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and not __fish_seen_subcommand_from list show help" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and not __fish_seen_subcommand_from list show help" -f -a "list" -d 'List the interfaces: driver, PCI address, speed, NUMA node, SR-IOV. Needs no privilege'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and not __fish_seen_subcommand_from list show help" -f -a "show" -d 'Show all of one interface: bus and what it carries, offloads, queues, interrupts, SR-IOV, clock. Needs no privilege'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and not __fish_seen_subcommand_from list show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and __fish_seen_subcommand_from list" -l all -d 'Virtual interfaces too (veth, bridges, tunnels)'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and __fish_seen_subcommand_from list" -l json -d 'Print all that is known of each as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and __fish_seen_subcommand_from show" -l json -d 'Print it as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the interfaces: driver, PCI address, speed, NUMA node, SR-IOV. Needs no privilege'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show all of one interface: bus and what it carries, offloads, queues, interrupts, SR-IOV, clock. Needs no privilege'
complete -c netbench -n "__fish_netbench_using_subcommand nic; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and not __fish_seen_subcommand_from probe tune help" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and not __fish_seen_subcommand_from probe tune help" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and not __fish_seen_subcommand_from probe tune help" -f -a "probe" -d 'Find the largest packet that passes, with packets, and name what stops larger ones; exit 1 when it is not as declared'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and not __fish_seen_subcommand_from probe tune help" -f -a "tune" -d 'Apply several MTUs to the whole path, measure them in interleaved rounds, and name the best'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and not __fish_seen_subcommand_from probe tune help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from probe" -s p -l port -d 'A host that runs `netbench serve` on this port is probed both ways [default: 5210 where a token is given]' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from probe" -l token -d 'The token that `netbench serve` printed there; NETBENCH_TOKEN in the environment does the same where --port is given' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from probe" -l flow -d 'Ends to probe instead of the declared flows; may be repeated' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from probe" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from probe" -l no-store -d 'Do not keep the outcome'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from probe" -l json -d 'Print the outcome as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from probe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from probe" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l mtu -d 'MTUs, such as 1500,4000,9000; a range such as 1500..9000 takes four of it' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l test -d 'Tests, separated by commas [default: the file\'s, or tcp_stream]' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l duration -d 'Length of one round [default: the file\'s, or 500ms]' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l omit -d 'Warm-up before each round, left out of every figure' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l rounds -d 'Rounds of every variant, interleaved in random order' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l budget -d 'Go on after that many rounds until each median is known to 2 %, for at most this long' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l streams -d 'Parallel streams [default: the file\'s, or 1]' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l length -d 'Bytes of a block (streams), datagram or request [default: whole segments in 64k, a full packet, or 1]' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l flow -d 'Who talks to whom, instead of the declared flows; may be repeated' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l seed -d 'Seed of the random order; the same one gives the same order' -r
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l live -d 'Watch it on the whole terminal: throughput, round trips and retransmits of each stream, CPUs, hops; `q` ends it'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l no-store -d 'Do not keep the outcome'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -l json -d 'Print the outcome as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from tune" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from help" -f -a "probe" -d 'Find the largest packet that passes, with packets, and name what stops larger ones; exit 1 when it is not as declared'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from help" -f -a "tune" -d 'Apply several MTUs to the whole path, measure them in interleaved rounds, and name the best'
complete -c netbench -n "__fish_netbench_using_subcommand mtu; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l set -d 'A key of the file with the values that it takes, such as mtu=1500,9000 or switch.br1.kind=bridge,ovs or test.streams=1,4; repeated: all combinations' -r
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l test -d 'Tests, separated by commas [default: the file\'s, or tcp_stream]' -r
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l duration -d 'Length of one round [default: the file\'s, or 500ms]' -r
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l omit -d 'Warm-up before each round, left out of every figure' -r
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l rounds -d 'Rounds of every variant, interleaved in random order' -r
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l budget -d 'Go on after that many rounds until each median is known to 2 %, for at most this long' -r
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l streams -d 'Parallel streams [default: the file\'s, or 1]' -r
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l length -d 'Bytes of a block (streams), datagram or request [default: whole segments in 64k, a full packet, or 1]' -r
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l flow -d 'Who talks to whom, instead of the declared flows; may be repeated' -r
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l seed -d 'Seed of the random order; the same one gives the same order' -r
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l live -d 'Watch it on the whole terminal: throughput, round trips and retransmits of each stream, CPUs, hops; `q` ends it'
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l no-store -d 'Do not keep the outcome'
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -l json -d 'Print the outcome as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand sweep" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l mtu -d 'MTU of the wires; a tunnel\'s inside has what is left' -r
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l test -d 'Tests, separated by commas [default: the file\'s, or tcp_stream]' -r
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l duration -d 'Length of one round [default: the file\'s, or 500ms]' -r
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l omit -d 'Warm-up before each round, left out of every figure' -r
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l rounds -d 'Rounds of every variant, interleaved in random order' -r
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l budget -d 'Go on after that many rounds until each median is known to 2 %, for at most this long' -r
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l streams -d 'Parallel streams [default: the file\'s, or 1]' -r
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l length -d 'Bytes of a block (streams), datagram or request [default: whole segments in 64k, a full packet, or 1]' -r
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l flow -d 'Who talks to whom, instead of the declared flows; may be repeated' -r
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l seed -d 'Seed of the random order; the same one gives the same order' -r
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l live -d 'Watch it on the whole terminal: throughput, round trips and retransmits of each stream, CPUs, hops; `q` ends it'
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l no-store -d 'Do not keep the outcome'
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -l json -d 'Print the outcome as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand overhead" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand search" -l max-loss -d 'Share of datagrams or requests that may be lost, such as 0.01%' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l p99 -d 'Largest p99 of the latency, such as 200us; for requests on a schedule (--test udp_rr or tcp_rr)' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l test -d 'udp_stream (a rate in bits), or udp_rr or tcp_rr (requests in a second) [default: udp_rr with --p99, or udp_stream]' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l max -d 'Highest rate of interest, such as 10gbit or 50000/s [default: what the path allows, or what the generator can do]' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l min -d 'Lowest rate of interest [default: a thousandth of the highest]' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l duration -d 'Length of a trial' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l omit -d 'Warm-up before each trial, which fills queues' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l trials -d 'Trials at a load' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l exceed -d 'Share of the trials at a load that may be bad' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l precision -d 'Width of the answer at which the search ends' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l streams -d 'Parallel streams' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l length -d 'Bytes of a datagram or request' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l flow -d 'Who talks to whom, instead of the first declared flow' -r
complete -c netbench -n "__fish_netbench_using_subcommand search" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand search" -l no-store -d 'Do not keep the outcome'
complete -c netbench -n "__fish_netbench_using_subcommand search" -l json -d 'Print the outcome as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand search" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand search" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l bind -d 'Address to listen on; may be repeated. `any` is every address of this host [default: loopback]' -r
complete -c netbench -n "__fish_netbench_using_subcommand serve" -s p -l port -d 'Port, TCP and UDP; 0 takes a free one [default: 5210; with --iperf3 5201]' -r
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l format -d 'With --iperf3: how each test is printed, `text` or `iperf3` (as `iperf3 -s -J`)' -r -f -a "text\t'For people'
json\t'netbench\'s own record'
iperf3\t'As `iperf3 -J` does'"
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l token -d 'Token that clients must give, instead of a new one; NETBENCH_TOKEN in the environment does the same, and hides it from lists of processes' -r
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l max-duration -d 'Longest test, warm-up included' -r
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l max-streams -d 'Most parallel streams of a client' -r
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l max-clients -d 'Most clients at a time' -r
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l max-length -d 'Longest block, request or response' -r
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l max-socket-buffer -d 'Largest socket buffer; more is cut' -r
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l max-rate -d 'Highest payload rate of a client over its streams; a client must then ask for a rate [default: none]' -r
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l cpus -d 'CPUs of the data threads, such as 2-5; stream i gets the i-th' -r
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l iperf3 -d 'Answer stock iperf3 clients instead, one test at a time, by their protocol: it has no token'
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l open -d 'Let in everybody, without a token'
complete -c netbench -n "__fish_netbench_using_subcommand serve" -l once -d 'End when the first client has gone'
complete -c netbench -n "__fish_netbench_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand serve" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s p -l port -d 'Its port [default: 5210; with --iperf3 5201]' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l token -d 'The token that it printed; NETBENCH_TOKEN in the environment does the same, and hides it from lists of processes' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l test -d 'Tests, separated by commas: tcp_stream, tcp_maerts, tcp_bidir, tcp_sendfile, udp_stream, tcp_rr, udp_rr, tcp_crr, tcp_cc [default: tcp_stream,tcp_rr]' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s t -l duration -d 'Length of one round, such as 3s or 500ms [default: 1s]' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s n -l bytes -d 'End each stream after so many bytes of payload, to the byte, such as 100m (stream --iperf3: all streams together); --duration is then the longest it may take [default then: 1m]' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s k -l blocks -d 'End each stream after so many blocks of --length, datagrams or frames' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l transactions -d 'End each stream of requests after so many transactions' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l rounds -d 'Rounds of each test, interleaved, or `auto`: five, and more until every median is known to ±2 %, for two minutes at most [default: the file\'s, or as auto, for eight seconds at most]' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l budget -d 'The time for all rounds, where their number is not said; the first five are run in any case' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s O -l omit -d 'Warm-up before each round, left out of every figure' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s P -l streams -d 'Parallel streams [default: 1]' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s l -l length -d 'Bytes of a block (streams), datagram or request [default: whole segments in 64k, a full packet, or 1; of iperf3 128k]' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l response -d 'Bytes of a response' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s b -l rate -d 'Rate of each stream, such as 5gbit, or requests on a schedule, such as 20000/s; without it as fast as it goes' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s w -l socket-buffer -d 'SO_SNDBUF and SO_RCVBUF to ask for' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l send -d 'How streams send: write, sendfile, zerocopy, splice or uring (TCP), write, mmsg or gso (UDP)' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l recv -d 'How they receive: recv, trunc or splice (nothing is copied), zerocopy (pages are mapped) or uring (TCP), recv, mmsg or gro (UDP)' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l burst -d 'Requests kept in flight beside the first, pipelined (tcp_rr, udp_rr)' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l verify -d 'Check the payload: streams of blocks or datagrams made from a seed, each with its CRC32C; exit 3 when one is corrupt' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l frame-size -d 'frame_stream: bytes of a frame, its check sequence among them, 64 to 9018 [default: 64]' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l under -d 'Measure the latency of requests idle and, in rounds between, beside this stream: tcp_stream, tcp_maerts, tcp_bidir or udp_stream' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s M -l mss -d 'TCP_MAXSEG, bytes' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s C -l congestion -d 'TCP congestion control, such as cubic or bbr' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l dscp -d 'Differentiated services code point of what is sent, 0 to 63' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l flow-label -d 'IPv6 flow label of what is sent, 1 to 0xfffff; over IPv4 there is none' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l pacing-rate -d 'SO_MAX_PACING_RATE of each socket (datagrams: honoured by the fq qdisc only)' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l pacing -d 'Streams with a rate: what keeps it, fq (the egress device\'s queueing discipline) or auto, and for udp_stream timer or spin too; what did, and the gaps of datagrams, are reported' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l recv-lowat -d 'SO_RCVLOWAT: a receiver of a byte stream sleeps until that much is there' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l sndbuf -d 'SO_SNDBUF of the sockets, over --socket-buffer' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l rcvbuf -d 'SO_RCVBUF of the sockets, over --socket-buffer' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l busy-poll -d 'SO_BUSY_POLL, microseconds (raising it needs CAP_NET_ADMIN)' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l cpus -d 'CPUs of this side\'s data threads, such as 2-5; stream i gets the i-th' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l format -d 'How to print: text, json (the record), or iperf3, as `iperf3 -J` does (one document a round of a stream test)' -r -f -a "text\t'For people'
json\t'netbench\'s own record'
iperf3\t'As `iperf3 -J` does'"
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s i -l interval -d 'Length of the report\'s intervals [default: 1s]' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l title -d 'Text that the reports of both ends repeat' -r
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s 4 -l ipv4 -d 'Use only IPv4'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s 6 -l ipv6 -d 'Use only IPv6'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l nodelay -d 'TCP_NODELAY for streams too'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l qdisc-bypass -d 'Frames go to the device past its queueing discipline'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l spin -d 'Request/response threads never sleep in a receive'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l live -d 'Watch it on the whole terminal: throughput, round trips and retransmits of each stream, this host\'s CPUs; `q` ends it'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l no-store -d 'Do not keep the outcome'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l json -d 'Print the record as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l iperf3 -d 'Drive a stock iperf3 server (or `netbench serve --iperf3`) through one test, by its protocol; port 5201, 10 s'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s u -l udp -d 'UDP; at 1 Mbit/s unless --rate says otherwise (`--rate 0` is as fast as it goes)'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s R -l reverse -d 'The server sends'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l bidir -d 'Both ends send'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l udp-counters-64bit -d 'Number datagrams with 64 bits'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s Z -l zerocopy -d 'Send by `sendfile`, at both ends'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l skip-rx-copy -d 'Receive without copying the payload, at both ends'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l dont-fragment -d 'Datagrams that do not fit the path are an error instead of fragments'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -l get-server-output -d 'Show the server\'s own report, too'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand stream" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and not __fish_seen_subcommand_from verify bisect restore help" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and not __fish_seen_subcommand_from verify bisect restore help" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and not __fish_seen_subcommand_from verify bisect restore help" -f -a "verify" -d 'Switch each offload of each device of a path off and on, and hold what was handed to the device against what came out of it; exit 3 where an offload is broken'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and not __fish_seen_subcommand_from verify bisect restore help" -f -a "bisect" -d 'Find the smallest set of offloads whose flip makes a path meet a goal; exit 3 where there is one'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and not __fish_seen_subcommand_from verify bisect restore help" -f -a "restore" -d 'Put the features back that a killed `offload verify` or `offload bisect` left switched'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and not __fish_seen_subcommand_from verify bisect restore help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from verify" -l flow -d 'Who talks to whom, instead of the declared flows; may be repeated' -r
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from verify" -l only -d 'Only these checks of devices, separated by commas, such as tso,gro' -r
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from verify" -l seed -d 'Seed of every payload [default: 1]' -r
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from verify" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from verify" -l no-store -d 'Do not keep the outcome'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from verify" -l json -d 'Print the record as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from verify" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from bisect" -l goal -d 'The goal, such as `goodput>5G` (payload bits per second over TCP)' -r
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from bisect" -l flow -d 'Who talks to whom, instead of the first declared flow' -r
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from bisect" -l seed -d 'Seed of every payload [default: 1]' -r
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from bisect" -l store -d 'The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from bisect" -l no-store -d 'Do not keep the outcome'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from bisect" -l json -d 'Print the record as JSON'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from bisect" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from bisect" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from restore" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Switch each offload of each device of a path off and on, and hold what was handed to the device against what came out of it; exit 3 where an offload is broken'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from help" -f -a "bisect" -d 'Find the smallest set of offloads whose flip makes a path meet a goal; exit 3 where there is one'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from help" -f -a "restore" -d 'Put the features back that a killed `offload verify` or `offload bisect` left switched'
complete -c netbench -n "__fish_netbench_using_subcommand offload; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c netbench -n "__fish_netbench_using_subcommand explain" -l markdown -d 'Print the whole reference page (docs/errors.md)'
complete -c netbench -n "__fish_netbench_using_subcommand explain" -s h -l help -d 'Print help'
complete -c netbench -n "__fish_netbench_using_subcommand explain" -s V -l version -d 'Print version'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "run" -d 'Make a topology, prove it, measure it, report, and remove it again'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "history" -d 'List what is kept, the latest last'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "show" -d 'Show what is kept, as the command that measured it did'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "compare" -d 'Compare two runs, round by round: a rank test, and a least difference that matters'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "export" -d 'Write what is kept for other tools'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "report" -d 'Write what is kept as one self-contained HTML page'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "topo" -d 'Make, look at and remove topologies'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "nic" -d 'Look at the network interfaces of this host as hardware'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "mtu" -d 'Find what a path carries, and which MTU is best'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "sweep" -d 'Vary any keys of a topology, measure all variants in interleaved rounds, and compare'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "overhead" -d 'Measure the bare host, then with a namespace and veth, a bridge, VXLAN, Open vSwitch: what each layer costs'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "search" -d 'Find the highest rate that meets limits of loss and latency, by many short trials (the idea of MLRsearch, RFC 9971)'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "serve" -d 'Answer `netbench stream` and `netbench mtu probe` on other hosts, until Ctrl-C'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "stream" -d 'Measure between this host and one that runs `netbench serve`, without a topology'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "offload" -d 'Are the offloads of a path right, and which of them breaks it?'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "explain" -d 'Explain the code of a mistake, such as NB012'
complete -c netbench -n "__fish_netbench_using_subcommand help; and not __fish_seen_subcommand_from run history show compare export report topo nic mtu sweep overhead search serve stream offload explain help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from topo" -f -a "check" -d 'Check a topology file offline: all mistakes at once'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from topo" -f -a "new" -d 'Print a shipped topology, as a file to edit'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from topo" -f -a "graph" -d 'Draw a topology as Mermaid, Graphviz or SVG'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from topo" -f -a "schema" -d 'Print the JSON schema of topology files, for editors'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from topo" -f -a "plan" -d 'Show what an apply would do, in order, with the addresses and MTU of every interface'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from topo" -f -a "apply" -d 'Make a topology; a second time, change only what differs'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from topo" -f -a "verify" -d 'Compare what is there with what is declared, field by field; exit 1 on drift'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from topo" -f -a "show" -d 'Show a topology that is up: namespaces, interfaces, paths'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from topo" -f -a "list" -d 'List the topologies that are up, and those that an interrupted command left'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from topo" -f -a "exec" -d 'Run a command in the namespace of a node, host or the fabric'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from topo" -f -a "destroy" -d 'Remove a topology: by name, by file, or all of ours'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from topo" -f -a "gc" -d 'Remove what interrupted commands left; topologies that are up stay'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from nic" -f -a "list" -d 'List the interfaces: driver, PCI address, speed, NUMA node, SR-IOV. Needs no privilege'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from nic" -f -a "show" -d 'Show all of one interface: bus and what it carries, offloads, queues, interrupts, SR-IOV, clock. Needs no privilege'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from mtu" -f -a "probe" -d 'Find the largest packet that passes, with packets, and name what stops larger ones; exit 1 when it is not as declared'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from mtu" -f -a "tune" -d 'Apply several MTUs to the whole path, measure them in interleaved rounds, and name the best'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from offload" -f -a "verify" -d 'Switch each offload of each device of a path off and on, and hold what was handed to the device against what came out of it; exit 3 where an offload is broken'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from offload" -f -a "bisect" -d 'Find the smallest set of offloads whose flip makes a path meet a goal; exit 3 where there is one'
complete -c netbench -n "__fish_netbench_using_subcommand help; and __fish_seen_subcommand_from offload" -f -a "restore" -d 'Put the features back that a killed `offload verify` or `offload bisect` left switched'
