'use strict'
// id.js FILE [CHUNK]: prints the id of FILE's hash channel.

const lib = require('./lib')

const { positionals: [file, chunk = '1024'] } = lib.parse()
console.log(lib.id(lib.hashes(file, Number(chunk))))
