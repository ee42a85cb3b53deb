complete -c netbench -s h -l help -d 'Print help'
complete -c netbench -s V -l version -d 'Print version'
