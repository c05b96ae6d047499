# Completion of broadcast-client for fish. docs/client_files.py makes this file.
function __broadcast_client_servers
    set -l folder ~/.config
    set -q XDG_CONFIG_HOME; and set folder $XDG_CONFIG_HOME
    sed -n 's/^ *\[servers\."\{0,1\}\([A-Za-z0-9._-]*\)"\{0,1\}\].*/\1/p' 2>/dev/null "$folder/broadcast/client.toml" "$HOME/Library/Application Support/broadcast/client.toml"
end
complete -c broadcast-client -f -a '(__broadcast_client_servers) (__fish_print_hostnames)'
complete -c broadcast-client -l tls -d 'connect with TLS, by default to port 5556'
complete -c broadcast-client -l fingerprint -x -d 'connect with TLS, and trust only the server with this key'
complete -c broadcast-client -l nick -x -d 'your nickname; without it, the client asks, or takes one from $USER'
complete -c broadcast-client -l password-file -r -F -d 'the password of your nickname, in the first line of FILE'
complete -c broadcast-client -l room -x -d 'join this room; give it several times for several rooms'
complete -c broadcast-client -l send -x -d 'post TEXT, wait until it is stored, and exit; - posts the standard input'
complete -c broadcast-client -l upload -r -F -d 'share FILE in the room, print its address, and exit'
complete -c broadcast-client -l json -d 'with these: print a line of JSON for each stored line or file'
complete -c broadcast-client -l timeout -x -d 'with these: give up after this time (60)'
complete -c broadcast-client -l no-reconnect -d 'on a terminal: exit when the connection is lost'
complete -c broadcast-client -l no-color -d 'on a terminal: no colours'
complete -c broadcast-client -l no-times -d 'on a terminal: no times in front of the lines'
complete -c broadcast-client -l no-bell -d 'on a terminal: never ring the bell'
complete -c broadcast-client -l notify -d 'on a terminal: notify of private lines and of your nickname'
complete -c broadcast-client -l version -d 'print the version, and exit'
complete -c broadcast-client -l help -d 'print this help, and exit'
