<#
.SYNOPSIS
Mounts a Mountable gateway as a drive on Windows.

.DESCRIPTION
The NFS client of Windows has no option for a port: it asks the port mapper (port 111) of the host
and mounts NFS at port 2049. The gateway must therefore be reachable there: run it on a machine
with `rpcbind`, at port 2049, and register it (`rpcinfo` must list programs 100003 and 100005), or
use the Linux script inside WSL 2, which needs none of this.

"Client for NFS" is an optional feature:
  Windows 10 and 11:  Enable-WindowsOptionalFeature -Online -FeatureName ServicesForNFS-ClientOnly,ClientForNFS-Infrastructure -All
  Windows Server:     Install-WindowsFeature NFS-Client

.EXAMPLE
.\mount_windows.ps1 -HostName lake.example.org -Path /acme -Drive X
.EXAMPLE
.\mount_windows.ps1 -HostName lake.example.org -Path /acme -Drive X -DryRun
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$HostName,
    # The export must have a name: with / alone Windows refuses renames.
    [ValidatePattern('^/[a-z0-9_/-]+$')][string]$Path = '/acme',
    [ValidatePattern('^[D-Zd-z]$')][string]$Drive = 'X',
    [switch]$ReadOnly,
    # User and group that writes are made as; needs a new mount of all NFS drives to take effect.
    [int]$Uid = -1,
    [int]$Gid = -1,
    [switch]$DryRun
)

$ErrorActionPreference = 'Stop'

function Invoke-OrShow([string]$Program, [string[]]$Words) {
    if ($DryRun) {
        Write-Output ("{0} {1}" -f $Program, ($Words -join ' '))
        return
    }
    & $Program @Words
    if ($LASTEXITCODE -ne 0) {
        throw "$Program ended with exit code $LASTEXITCODE"
    }
}

function Set-AnonymousUser([string]$Name, [int]$Value) {
    $key = 'HKLM:\SOFTWARE\Microsoft\ClientForNFS\CurrentVersion\Default'
    if ($DryRun) {
        Write-Output "Set-ItemProperty -Path '$key' -Name $Name -Type DWord -Value $Value"
        return
    }
    Set-ItemProperty -Path $key -Name $Name -Type DWord -Value $Value
}

if (-not $DryRun -and -not (Get-Command mount.exe -ErrorAction SilentlyContinue)) {
    throw 'mount.exe is missing: enable the optional feature "Client for NFS" (Get-Help .\mount_windows.ps1)'
}
if ($Uid -ge 0) { Set-AnonymousUser 'AnonymousUid' $Uid }
if ($Gid -ge 0) { Set-AnonymousUser 'AnonymousGid' $Gid }

# casesensitive: names are as they are. nolock: locks are not the gateway's. mtype=hard: an outage
# waits instead of losing writes.
$options = 'anon,nolock,casesensitive,mtype=hard,timeout=60,rsize=1024,wsize=1024'
if (-not $ReadOnly) { $options += ',fileaccess=7' } else { $options += ',fileaccess=5' }
$share = '\\' + $HostName + $Path.Replace('/', '\')
Invoke-OrShow 'mount.exe' @('-o', $options, $share, ($Drive.ToUpper() + ':'))
