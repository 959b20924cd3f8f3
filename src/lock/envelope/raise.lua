local fence = redis.pcall('GET', KEYS[1])
fence = type(fence) == 'string' and tonumber(fence)
if not fence or fence < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
return {1}
